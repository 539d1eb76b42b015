from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.queries.table import Table


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    """Every statement must hold on both."""
    return str(request.param)


@pytest.fixture
async def table(engine: AsyncEngine) -> AsyncIterator[Table]:
    """The tables, as somebody sees them who writes SQL."""
    async with engine.connect() as connection:
        yield Table(await connection.execution_options(isolation_level="AUTOCOMMIT"))
