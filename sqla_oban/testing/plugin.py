"""Fixtures for pytest, which finds them by itself; nothing happens unless one of them is asked for."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sqla_oban.migrations import migrate
from sqla_oban.testing.inline import inline
from sqla_oban.testing.target import result_of
from sqla_oban.testing.temporary_postgres import TemporaryPostgres


@pytest.fixture(scope="session")
def oban_postgres_url() -> Iterator[URL]:
    """The address of a PostgreSQL server, for asyncpg: SQLA_OBAN_TEST_URL, or a temporary one of this process's own."""
    if given := os.environ.get("SQLA_OBAN_TEST_URL"):
        yield make_url(given)
    else:
        with TemporaryPostgres() as server:
            yield server.url()


@pytest.fixture(scope="session")
def oban_database_url(oban_postgres_url: URL) -> Iterator[URL]:
    """The address of an empty database with Oban's tables on that server; it is dropped in the end.

    Add your own tables to it: `metadata.create_all(connection)`. For another driver:
    `oban_database_url.set(drivername="postgresql+psycopg")`.
    """
    name = f"sqla_oban_{uuid4().hex}"
    result_of(_administer(oban_postgres_url, f"CREATE DATABASE {name}"))
    url = oban_postgres_url.set(database=name)
    try:
        result_of(_migrate(url))
        yield url
    finally:
        result_of(_administer(oban_postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def oban_inline() -> Iterator[None]:
    """During the test a session that commits runs the jobs that were added to it: see `sqla_oban.testing.inline`."""
    with inline():
        yield


async def _migrate(url: URL) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)


async def _administer(url: URL, statement: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
