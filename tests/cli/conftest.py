"""A database without our tables, and a look at all that is in it."""

import secrets
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL, create_engine, text

Contents = set[tuple[str, str]]


@pytest.fixture
def empty_database(server_url: URL) -> Iterator[URL]:
    """A new database."""
    name = f"sqla_oban_cli_{secrets.token_hex(4)}"
    engine = create_engine(server_url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield server_url.set(database=name)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def contents(empty_database: URL) -> Callable[[], Contents]:
    """Asks for all schemas, and all tables and types in them, of the database."""

    def ask() -> Contents:
        engine = create_engine(empty_database.set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT nspname, '' FROM pg_namespace WHERE nspname !~ '^pg_' UNION ALL "
                    "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
                    "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' UNION ALL "
                    "SELECT nspname, typname FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace "
                    "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
                )
            ).all()
        engine.dispose()
        return {(schema, name) for schema, name in rows}

    return ask


@pytest.fixture
def url(empty_database: URL) -> str:
    """The database's address as a user would write it."""
    return empty_database.set(drivername="postgresql").render_as_string(hide_password=False)
