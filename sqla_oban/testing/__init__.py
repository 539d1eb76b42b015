"""What helps to test an application that enqueues jobs: run them, look for them, and a real PostgreSQL to do it on.

What takes a session or a runner is awaited if that is asynchronous, and is a plain call with a sync `Session`. With a
session everything happens in its transaction, on its connection: nothing is committed, and what rolls the test back
takes the jobs with it.
"""

from sqla_oban.testing.drain import drain
from sqla_oban.testing.enqueued import all_enqueued, assert_enqueued, refute_enqueued
from sqla_oban.testing.inline import inline
from sqla_oban.testing.perform import perform_job
from sqla_oban.testing.temporary_postgres import TemporaryPostgres
from sqla_oban.testing.turns import Drained

__all__ = [
    "Drained",
    "TemporaryPostgres",
    "all_enqueued",
    "assert_enqueued",
    "drain",
    "inline",
    "perform_job",
    "refute_enqueued",
]
