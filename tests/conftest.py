"""A real PostgreSQL for all tests, a database of their own for each process, and clean tables for each test."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from sqla_oban import SqlaOban
from sqla_oban.migrations import migrate
from sqla_oban.telemetry import bus
from sqla_oban.testing import TemporaryPostgres
from sqla_oban.workers.registry import REGISTRY
from tests.emptying import emptied
from tests.queries.table import Table
from tests.support import PATIENCE, Recorder, fast_settings


@pytest.fixture(scope="session")
def server_url() -> Iterator[URL]:
    """A server: the one given, one in a container where a Docker engine answers, else a temporary one."""
    with contextlib.ExitStack() as stack:
        if given := os.environ.get("SQLA_OBAN_TEST_URL"):
            yield make_url(given)
        elif docker_answers():
            from testcontainers.postgres import PostgresContainer

            container = stack.enter_context(PostgresContainer("postgres:17", driver="asyncpg"))
            yield make_url(container.get_connection_url())
        else:
            yield stack.enter_context(TemporaryPostgres()).url()


@pytest.fixture(scope="session")
def database_url(server_url: URL) -> Iterator[URL]:
    """A migrated database of this process's own."""
    name = f"sqla_oban_test_{os.getpid()}"
    with admin(server_url) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = server_url.set(database=name)
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()
    yield url
    with admin(server_url) as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["asyncpg"])
def driver(request: pytest.FixtureRequest) -> str:
    """The driver of `engine`; tests that must hold on both are parametrised with `both_drivers`."""
    return str(request.param)


@pytest.fixture
async def engine(database_url: URL, driver: str) -> AsyncIterator[AsyncEngine]:
    """An application's engine, on empty tables."""
    engine = create_async_engine(database_url.set(drivername=f"postgresql+{driver}"))
    async with engine.begin() as connection:
        await connection.execute(emptied())
    yield engine
    await engine.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """An application's sessions."""
    return async_sessionmaker(engine, expire_on_commit=False)


@pytest.fixture
async def table(engine: AsyncEngine) -> AsyncIterator[Table]:
    """The tables, as somebody sees them who writes SQL."""
    async with engine.connect() as connection:
        yield Table(await connection.execution_options(isolation_level="AUTOCOMMIT"))


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test declares or attaches, the next one does not know."""
    monkeypatch.setattr(REGISTRY, "_definitions", dict(REGISTRY._definitions))
    monkeypatch.setattr(bus, "_handlers", dict(bus._handlers))


@pytest.fixture
def events() -> Iterator[Recorder]:
    """Everything that telemetry says from now on."""
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
async def start(engine: AsyncEngine) -> AsyncIterator[Any]:
    """Starts runners with quick settings, and stops them after the test: `await start(queues={"default": 5})`."""
    async with contextlib.AsyncExitStack() as stack:

        async def start_one(**options: Any) -> SqlaOban:
            on = options.pop("engine", engine)
            return await stack.enter_async_context(SqlaOban(on, **{**fast_settings(), **options}))

        yield start_one


@contextlib.contextmanager
def admin(server_url: URL) -> Iterator[Any]:
    engine = create_engine(server_url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=10).returncode == 0


@pytest.fixture
def long_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told to stop may take his time, as on a busy machine he does."""
    for kind in ("thread", "process"):
        monkeypatch.setattr(f"sqla_oban.engine.dispatchers.{kind}_dispatcher.LAST_WORDS", PATIENCE)
