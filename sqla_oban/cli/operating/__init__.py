"""Commands for who operates a queue: jobs, queues, the crontab, and a live view; one noun a module."""
