"""A user's suite: a session whose commits are rolled back with the test, asynchronous and not."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from tests.support import jobs


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        transaction = await connection.begin()
        yield connection
        assert transaction.is_active
        await transaction.rollback()
    assert await jobs(engine) == [], "the test's transaction took everything with it"


@pytest.fixture
async def session(connection: AsyncConnection) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        yield session


@pytest.fixture(params=["psycopg", "psycopg2"])
def sync_connection(request: pytest.FixtureRequest, database_url: URL, engine: AsyncEngine) -> Iterator[Connection]:
    sync_engine = create_engine(database_url.set(drivername=f"postgresql+{request.param}"))
    with sync_engine.connect() as connection:
        transaction = connection.begin()
        yield connection
        assert transaction.is_active
        transaction.rollback()
    sync_engine.dispose()


@pytest.fixture
def sync_session(sync_connection: Connection) -> Iterator[Session]:
    with Session(sync_connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        yield session
