"""`sqla-oban demo`: what the queue promises, shown on a real PostgreSQL with real processes."""
