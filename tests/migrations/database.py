import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import URL, Connection, create_engine, text

from tests.conftest import admin


@contextmanager
def empty_database(server_url: URL, template: str = "template1") -> Iterator[URL]:
    """A database without any table, or with those of `template`, dropped afterwards."""
    name = f"sqla_oban_test_{uuid4().hex}"
    with admin(server_url) as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield server_url.set(database=name)
    with admin(server_url) as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def begun(url: URL, driver: str = "psycopg") -> Iterator[Connection]:
    """A transaction, committed at the end."""
    engine = create_engine(url.set(drivername=f"postgresql+{driver}"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def things_in(connection: Connection, schema: str = "public") -> list[str]:
    """The names of all tables, indexes, functions and types in a schema."""
    names = """
        SELECT relname FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema)
        UNION SELECT proname FROM pg_proc WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema)
        UNION SELECT typname FROM pg_type WHERE typnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema)
    """
    return sorted(connection.scalars(text(names), {"schema": schema}))


NOTED = text(
    "SELECT count(*), "
    "nullif(current_setting('sqla_oban.noted_' || CAST(CAST('oban_jobs' AS regclass) AS oid), true), '') "
    "FROM oban_notes"
)


def noted(connection: Connection) -> int:
    """How many notes a transaction has made: rows, and what stands in the setting behind the mark of the first."""
    rows, setting = connection.execute(NOTED).one()
    return int(rows) + len(json.loads(f"[{setting or 0}]")) - 1
