"""What a database lacks that has not been migrated, in words that say what to do."""

from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.errors import SchemaMismatch
from sqla_oban.migrations import check_version

UNDEFINED: Final = frozenset({"42P01", "42703", "42704", "42883"})
"""SQLSTATEs of a table, column, type or function that is not there."""


async def mismatch(error: DBAPIError, engine: AsyncEngine, schema: str | None) -> SchemaMismatch | None:
    """What is wrong with the tables, if `error` comes of their missing or being of another version.

    It is asked on a connection to itself, because the one that failed is of no use any more.
    """
    if getattr(error.orig, "sqlstate", None) in UNDEFINED:
        try:
            async with engine.connect() as connection:
                await connection.run_sync(check_version, schema=schema)
        except SchemaMismatch as found:
            return found
    return None
