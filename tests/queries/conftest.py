from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    """Every statement must hold on both."""
    return str(request.param)


@pytest.fixture
async def undisturbed(engine: AsyncEngine) -> AsyncIterator[None]:
    """A test says itself when the table is analysed: half-way through its filling, statistics would be of nothing."""
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE oban_jobs SET (autovacuum_enabled = off)"))
    yield
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE oban_jobs RESET (autovacuum_enabled)"))
