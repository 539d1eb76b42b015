"""What may stand between a connection and PostgreSQL: a pooler, which lends a server's session out by the transaction.

Behind one, each statement may run in another session. What a session keeps is then lost to us and left to others: its
settings, its advisory locks, its LISTEN, and its prepared statements.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_oban.engine.failures import sqlstate
from sqla_oban.errors import UnsupportedEngine

MIXED_UP = ("26000", "42P05")
"""SQLSTATEs of a prepared statement that is not there, or there already: it was made in another session."""


async def promised_process(connection: AsyncConnection) -> int:
    """The process that was said to serve this connection, when it was opened.

    If another answers, something stands in between, in whatever mode it works: a pooler cannot know at that moment
    who will, and says something of its own.
    """
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    return int(driver.get_server_pid() if connection.dialect.driver == "asyncpg" else driver.info.backend_pid)


def explained(error: BaseException, driver: str) -> UnsupportedEngine | None:
    """What to do about `error`, if it comes from prepared statements behind a pooler."""
    if sqlstate(error) not in MIXED_UP:
        return None
    return UnsupportedEngine(
        "a pooler mixes up the engine's prepared statements: have it make none, by create_async_engine(..., "
        f"connect_args={preparing_nothing(driver)}) and without a prepared_statement_name_func; or set "
        "max_prepared_statements in PgBouncer 1.21 or newer"
    )


def preparing_nothing(driver: str) -> Mapping[str, Any]:
    """The `connect_args` by which `driver` leaves no prepared statement in a session.

    asyncpg then sends each statement without a name, together with its values. Under a name of its own, as by
    `prepared_statement_name_func`, it would send them apart, and in AUTOCOMMIT to two sessions.
    """
    return {"statement_cache_size": 0} if driver == "asyncpg" else {"prepare_threshold": None}
