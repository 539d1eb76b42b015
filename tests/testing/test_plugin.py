"""The plugin in the suite of an application that is tested with it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import URL

ROOT = Path(__file__).resolve().parents[2]

APPLICATION = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqla_oban import job

class Base(DeclarativeBase): ...

class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    paid: Mapped[bool] = mapped_column(default=False)

sessions = None

@job(name="shop.collect")
async def collect(order_id):
    async with sessions() as session, session.begin():
        (await session.get_one(Order, order_id)).paid = True

@job(name="shop.collect_in_thread")
def collect_in_thread(order_id):
    with sessions() as session, session.begin():
        session.get_one(Order, order_id).paid = True

async def place(worker):
    async with sessions() as session:
        session.add(order := Order())
        await session.flush()
        session.add(worker.new(order.id))
        await session.commit()
    return order

def place_in_sync(worker):
    with sessions() as session:
        session.add(order := Order())
        session.flush()
        session.add(worker.new(order.id))
        session.commit()
    return order
"""
ASYNC = """
import pytest, pytest_asyncio, shop
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqla_oban.testing import Drained, assert_enqueued, drain

@pytest_asyncio.fixture
async def session(oban_database_url, monkeypatch):
    engine = create_async_engine(oban_database_url)
    async with engine.connect() as connection:
        await connection.begin()
        await connection.run_sync(shop.Base.metadata.create_all)
        options = {"join_transaction_mode": "create_savepoint", "expire_on_commit": False}
        monkeypatch.setattr(shop, "sessions", async_sessionmaker(connection, **options))
        async with shop.sessions() as session:
            yield session
        await connection.rollback()
    await engine.dispose()

@pytest.mark.asyncio
@pytest.mark.parametrize("time", [1, 2])  # the first leaves nothing behind
async def test_an_order_is_collected(session, time):
    order = await shop.place(shop.collect)
    [job] = await assert_enqueued(session, shop.collect, args={"order_id": order.id}, count=1)
    assert await drain(session) == Drained(completed=1)
    assert job.state == "completed"
    assert (await session.get_one(shop.Order, order.id)).paid

@pytest.mark.asyncio
async def test_inline(session, oban_inline):
    order = await shop.place(shop.collect)
    assert (await session.get_one(shop.Order, order.id)).paid
"""
SYNC = """
import pytest, shop
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker
from sqla_oban.testing import Drained, assert_enqueued, drain

@pytest.fixture(params=["psycopg", "psycopg2"])
def session(oban_database_url, monkeypatch, request):
    engine = create_engine(oban_database_url.set(drivername=f"postgresql+{request.param}"))
    with engine.connect() as connection:
        connection.begin()
        shop.Base.metadata.create_all(connection)
        options = {"join_transaction_mode": "create_savepoint", "expire_on_commit": False}
        monkeypatch.setattr(shop, "sessions", sessionmaker(connection, **options))
        with shop.sessions() as session:
            yield session
        connection.rollback()
    engine.dispose()

def test_an_order_is_collected(session):
    order = shop.place_in_sync(shop.collect_in_thread)
    [job] = assert_enqueued(session, shop.collect_in_thread, args={"order_id": order.id}, count=1)
    assert drain(session) == Drained(completed=1)
    assert job.state == "completed"
    assert session.get_one(shop.Order, order.id).paid

def test_inline(session, oban_inline):
    order = shop.place_in_sync(shop.collect_in_thread)
    assert session.get_one(shop.Order, order.id).paid
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project in an environment where this package is installed, with the entry points that it declares."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    metadata = tmp_path / "installed" / "declared-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: declared\nVersion: 1\n")
    lines = [f"{name} = {module}" for name, module in declared.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\nasyncio_default_fixture_loop_scope = "function"\n'
    )
    return tmp_path


def run(project: Path, url: URL | None, *options: str, **files: str) -> str:
    """Run the project's tests as strictly as they can be; returns what pytest says."""
    for name, content in files.items():
        (project / f"{name}.py").write_text(content)
    strictly = ["-W", "error", "--strict-config", "--strict-markers", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SQLA_OBAN", "PYTEST"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(project), str(project / "installed"), str(ROOT)])
    if url is not None:
        environment["SQLA_OBAN_TEST_URL"] = url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *strictly, *options],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("driver_name", ["asyncpg", "psycopg"])
def test_an_asynchronous_application_is_tested_in_transactions_that_are_rolled_back(
    driver_name: str, project: Path, server_url: URL
) -> None:
    url = server_url.set(drivername=f"postgresql+{driver_name}")
    said = run(project, url, shop=APPLICATION, test_shop=ASYNC)
    assert "3 passed" in said, said


def test_a_synchronous_application_likewise(project: Path, server_url: URL) -> None:
    said = run(project, server_url, shop=APPLICATION, test_shop=SYNC)
    assert "4 passed" in said, said


def test_without_a_server_given_a_temporary_one_is_started(project: Path) -> None:
    said = run(project, None, test_it="def test_it(oban_postgres_url): assert oban_postgres_url.query['host']")
    assert "1 passed" in said, said


def test_the_database_is_dropped_in_the_end(project: Path, server_url: URL) -> None:
    test = """
import asyncpg, asyncio, pathlib
def test_it(oban_database_url):
    pathlib.Path("name").write_text(oban_database_url.database)
"""
    said = run(project, server_url, test_it=test)
    assert "1 passed" in said, said
    name = (project / "name").read_text()
    look = f"""
import asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
async def look(url):
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        found = await connection.scalar(text("SELECT count(*) FROM pg_database WHERE datname = '{name}'"))
    await engine.dispose()
    return found
def test_it(oban_postgres_url): assert asyncio.run(look(oban_postgres_url)) == 0
"""
    said = run(project, server_url, test_it=look)
    assert "1 passed" in said, said


def test_a_project_that_does_not_use_it_notices_nothing(project: Path) -> None:
    test = """
from sqlalchemy.orm import Session
from sqla_oban.testing import inline
def test_it():
    assert list(Session().dispatch.before_commit) == []
    with inline():
        assert len(list(Session().dispatch.before_commit)) == 1
"""
    said = run(project, URL.create("postgresql+asyncpg", host="nowhere.invalid"), test_it=test)
    assert "1 passed" in said, said


def test_every_fixture_has_a_name_of_its_own_and_says_what_it_is(project: Path) -> None:
    said = run(project, None, "--fixtures", "-v", test_it="")
    listed = [line for line in said.splitlines() if "sqla_oban/testing/plugin.py" in line]
    assert sorted(line.split()[0] for line in listed) == ["oban_database_url", "oban_inline", "oban_postgres_url"]
    assert "no docstring" not in said.partition("fixtures defined from sqla_oban")[2]
