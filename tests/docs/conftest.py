"""What a page of the documentation finds when it begins: a database of its own, and an application's usual names."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from sqla_oban import SqlaOban
from sqla_oban.migrations import migrate
from sqla_oban.telemetry import bus
from sqla_oban.workers.registry import REGISTRY
from tests.docs.shop.models import Base
from tests.migrations.database import begun, empty_database

MODULE = "shop.app"
"""What the code of a page believes to be its module."""


@pytest.fixture(scope="session")
def template_url(server_url: URL) -> Iterator[URL]:
    """A database with Oban's tables and the shop's, of which pages get copies."""
    with empty_database(server_url) as url:
        with begun(url) as connection:
            migrate(connection)
            Base.metadata.create_all(connection)
        yield url


@pytest.fixture
def page_url(server_url: URL, template_url: URL) -> Iterator[URL]:
    """A copy of the template."""
    with empty_database(server_url, template=str(template_url.database)) as url:
        yield url


@pytest.fixture
async def page_module(page_url: URL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[ModuleType]:
    """The module that the blocks of a page fill. What they declare, attach and write is gone after them."""
    monkeypatch.setattr(REGISTRY, "_definitions", {})
    monkeypatch.setattr(bus, "_handlers", dict(bus._handlers))
    monkeypatch.setenv("DATABASE_URL", page_url.set(drivername="postgresql+asyncpg").render_as_string(False))
    monkeypatch.chdir(tmp_path)
    module = ModuleType(MODULE)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    sys.modules[MODULE] = module
    engine = create_async_engine(page_url.set(drivername="postgresql+asyncpg"))
    sync_engine = create_engine(page_url.set(drivername="postgresql+psycopg"))
    vars(module).update(
        engine=engine,
        sync_engine=sync_engine,
        sessions=async_sessionmaker(engine, expire_on_commit=False),
        sync_sessions=sessionmaker(sync_engine, expire_on_commit=False),
    )
    yield module
    for made in (
        *vars(module).values(),
        engine,
        sync_engine,
    ):  # a page may make its own, and one that fails stops nothing
        if isinstance(made, SqlaOban):
            await made.stop()
        elif isinstance(made, AsyncEngine):
            await made.dispose()
        elif isinstance(made, Engine):
            made.dispose()
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]  # another page maps its own classes on a Base of its own
