from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Connection

from sqla_oban.migrations import migrate
from tests.migrations.database import begun, empty_database


@pytest.fixture(scope="module")
def migrated_url(server_url: URL) -> Iterator[URL]:
    """A database with our tables and nothing else."""
    with empty_database(server_url) as url:
        with begun(url) as connection:
            migrate(connection)
        yield url


@pytest.fixture
def connection(migrated_url: URL) -> Iterator[Connection]:
    """A transaction on it that is rolled back at the end."""
    with begun(migrated_url) as connection:
        yield connection
        connection.rollback()
