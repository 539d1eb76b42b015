from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.migrations.database import empty_database


@pytest.fixture
def url(server_url: URL) -> Iterator[URL]:
    """An empty database of the test's own."""
    with empty_database(server_url) as url:
        yield url


@pytest.fixture
def sync_engine(engine: AsyncEngine, database_url: URL) -> Iterator[Engine]:
    """After `engine`, which empties the tables."""
    made = create_engine(database_url.set(drivername="postgresql+psycopg"), pool_size=10)
    yield made
    made.dispose()
