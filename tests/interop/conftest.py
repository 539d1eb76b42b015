"""One database that both libraries share, and nodes of oban.py on it."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

import tests.interop.workers  # noqa: F401 (declares the workers)
from sqla_oban.migrations import migrate
from tests.conftest import admin
from tests.interop.environment import python_with
from tests.interop.node import ObanPy
from tests.interop.workers import RUNS

collect_ignore = ["peer.py", "peer_workers.py"]  # which run in a Python that has oban.py

NEWEST, OLDEST = "oban>=0.7,<0.8", "oban>=0.6,<0.7"

every_release = pytest.mark.parametrize("oban_py", [NEWEST, OLDEST], indirect=True, ids=["0.7", "0.6"])


@pytest.fixture
def oban_py(request: pytest.FixtureRequest) -> Path:
    """A Python with oban.py; tests that must hold for its older releases as well are marked `every_release`."""
    return python_with(getattr(request, "param", NEWEST))


@pytest.fixture(scope="session")
def database_url(server_url: URL) -> Iterator[URL]:
    """A database of their own: ours made the tables, and oban.py's installer added what it misses there."""
    python, name = python_with(NEWEST), f"sqla_oban_interop_{os.getpid()}"
    url = server_url.set(database=name)
    with admin(server_url) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        migrate(connection)
        connection.execute(text(RUNS))
    engine.dispose()
    subprocess.run([python, "-m", "oban", "install", "--dsn", dsn(url)], check=True, capture_output=True)
    yield url
    with admin(server_url) as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def peer(engine: AsyncEngine, oban_py: Path) -> AsyncIterator[ObanPy]:
    """A process for one node of oban.py, which is not started yet; it must not have complained until the end."""
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE runs, oban_leaders"))
    node = await ObanPy.spawn(oban_py, dsn(engine.url))
    yield node
    complaints = node.of("complaint")
    await node.kill()
    assert complaints == []


def dsn(url: URL) -> str:
    """An address for libpq."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


async def runs(engine: AsyncEngine) -> dict[int, tuple[str, Any]]:
    """Where each job ran, and what it noted."""
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT job_id, runner, note FROM runs"))
        return {row.job_id: (row.runner, row.note) for row in rows}
