"""What can be wrong with an installation, one subject a module; `sqla-oban check` asks them all."""
