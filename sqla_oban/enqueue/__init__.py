"""Putting in: what happens when jobs are added to a session."""
