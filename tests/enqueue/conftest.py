"""Sessions of every kind, on every driver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

T = TypeVar("T")
Run = Callable[[Callable[[Session], T]], Awaitable[T]]
"""Runs a function in a session: `await run(check)`."""

every_session = pytest.mark.parametrize(
    "run", ["async asyncpg", "async psycopg", "sync psycopg", "sync psycopg2"], indirect=True
)


@pytest.fixture
async def run(request: pytest.FixtureRequest, engine: AsyncEngine, database_url: URL) -> AsyncIterator[Run[Any]]:
    kind, driver = getattr(request, "param", "async asyncpg").split()
    url = database_url.set(drivername=f"postgresql+{driver}")
    if kind == "async":
        its_engine = create_async_engine(url)

        async def within(check: Callable[[Session], T]) -> T:
            async with AsyncSession(its_engine, expire_on_commit=False) as session:
                return await session.run_sync(check)

        yield within
        await its_engine.dispose()
    else:
        sync_engine = create_engine(url)

        def call(check: Callable[[Session], T]) -> T:
            with Session(sync_engine, expire_on_commit=False) as session:
                return check(session)

        async def in_thread(check: Callable[[Session], T]) -> T:
            return await asyncio.to_thread(call, check)

        yield in_thread
        sync_engine.dispose()


@pytest.fixture
def impatient_engine(engine: AsyncEngine, database_url: URL) -> Iterator[Engine]:
    """A sync engine on the empty tables, whose transactions give up when they have to wait for a lock."""
    url = database_url.set(drivername="postgresql+psycopg")
    impatient = create_engine(url, connect_args={"options": "-c lock_timeout=10"})
    yield impatient
    impatient.dispose()
