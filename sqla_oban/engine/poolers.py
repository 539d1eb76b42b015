"""What may stand between a connection and PostgreSQL: a pooler, which lends a server's session out by the transaction.

Behind one, each statement may run in another session. What a session keeps is then lost to us and left to others: its
settings, its advisory locks, its LISTEN, and its prepared statements.
"""

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_oban.errors import UnsupportedEngine

MIXED_UP = ("26000", "42P05")
"""SQLSTATEs of a prepared statement that is not there, or there already: it was made in another session."""
REMEDIES = {
    "asyncpg": "connect_args={'statement_cache_size': 0}, and no prepared_statement_name_func",
    "psycopg": "connect_args={'prepare_threshold': None}",
}


async def is_pooled(connection: AsyncConnection) -> bool:
    """Whether something stands in between, in whatever mode it works.

    A server says at the start which process serves the connection. A pooler, which cannot know that yet, says
    something of its own.
    """
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    said = driver.get_server_pid() if connection.dialect.driver == "asyncpg" else driver.info.backend_pid
    return bool(said != await connection.scalar(select(func.pg_backend_pid())))


def explained(error: BaseException, driver: str) -> UnsupportedEngine | None:
    """What to do about `error`, if it comes from prepared statements behind a pooler."""
    if not isinstance(error, DBAPIError) or getattr(error.orig, "sqlstate", None) not in MIXED_UP:
        return None
    return UnsupportedEngine(
        "a pooler mixes up the engine's prepared statements: have it make none, by create_async_engine(..., "
        f"{REMEDIES[driver]}); or set max_prepared_statements in PgBouncer 1.21 or newer"
    )
