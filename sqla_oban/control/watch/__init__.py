"""Looking at jobs, queues, nodes and the crontab, in a way that harms none of them.

Each question is a function of a sync `Session`, as in the rest of `control`; `Reader` asks them in read-only
transactions that PostgreSQL ends when they take too long.
"""
