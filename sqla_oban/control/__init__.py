"""Steering: what operators and applications ask of jobs, queues and the crontab.

Each verb is written once, for a sync `Session`; the nouns `oban.jobs`, `oban.queues` and `oban.crons` call them from
asyncio, in a session of their own or in the caller's.
"""
