from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests.migrations.database import empty_database


@pytest.fixture
def url(server_url: URL) -> Iterator[URL]:
    """An empty database of the test's own."""
    with empty_database(server_url) as url:
        yield url
