"""What helps to test an application that enqueues jobs: for now a real PostgreSQL for the time of a test run."""

from sqla_oban.testing.temporary_postgres import TemporaryPostgres

__all__ = ["TemporaryPostgres"]
