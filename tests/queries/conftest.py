import pytest


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    """Every statement must hold on both."""
    return str(request.param)
