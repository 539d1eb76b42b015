"""The PostgreSQL that everything runs on: durable, made for one scenario, gone afterwards."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import psycopg

from benchmarks.failure import Unmeasured
from sqla_oban.testing import TemporaryPostgres

SETTINGS = {
    "shared_buffers": "512MB",
    "max_connections": "300",
    "max_wal_size": "8GB",  # so that no checkpoint falls into one contender's turn and not into another's
    "checkpoint_timeout": "30min",
}

EXTENSION = "pg_stat_statements"
OBSERVED = {"shared_preload_libraries": EXTENSION, "autovacuum": "off"}
"""Settings of a server whose statements and log are counted: nobody but the contender does anything."""
PATIENCE = 30.0
LOOK = 0.05


class Server:
    """A durable PostgreSQL: fsync, full_page_writes and synchronous_commit are on.

    Args:
        settings: over those above.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.given = settings
        self.created = 0
        self._postgres = TemporaryPostgres(durable=True, settings={**SETTINGS, **settings})

    def __enter__(self) -> Self:
        self._postgres.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._postgres.stop()

    def url(self, database: str) -> str:
        """A libpq address that every contender's driver understands."""
        return f"postgresql:///{database}?{urlencode({'host': self._postgres.directory, 'user': 'postgres'}, safe='/')}"

    def create(self, *, like: str = "template1") -> str:
        """The name of a new database, a copy of another. None is ever dropped: that would cost a checkpoint each."""
        self.created += 1
        database = f"bench_{self.created}"
        self.sql(f'CREATE DATABASE {database} TEMPLATE "{like}"')
        return database

    def settle(self, database: str) -> None:
        """As after a quiet night: vacuumed and analysed."""
        self.sql("VACUUM (ANALYZE)", database=database)

    def sql(self, statement: str, *values: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of a statement, on a connection of its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(statement.encode(), values or None)
            return done.fetchall() if done.description else []

    def wait_until_left(self, database: str) -> None:
        """Wait until nobody is connected to a database: its backends have then told what they did."""
        deadline = time.monotonic() + PATIENCE
        while self.sql("SELECT FROM pg_stat_activity WHERE datname = %s", database):
            if time.monotonic() > deadline:
                raise Unmeasured(f"was still connected after {PATIENCE:g} s")
            time.sleep(LOOK)

    @contextlib.contextmanager
    def snapshot(self, database: str) -> Iterator[None]:
        """Hold a snapshot open, as a long report or a forgotten session does: no dead row after it can be removed."""
        with psycopg.connect(self.url(database)) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM pg_class")
            yield
