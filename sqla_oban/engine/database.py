"""The runner's own connections, apart from the user's pool."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable, Row, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 2.0
CONNECTION_LOST = ("08", "57P")
"""SQLSTATE classes (PostgreSQL, appendix A) of a connection that is gone: connection exceptions and shutdowns."""
BAD_DATA = ("22", "23")
"""Those of values that are out of range or against a constraint."""


class Link:
    """One connection, held open, in AUTOCOMMIT; opened at first use and again after it broke.

    It comes from a private engine made from the user's: the same address, credentials and connection hooks, but none
    of the user's pool. So neither side can starve the other, and two or three connections a process are enough.
    Held, because a checkout for each statement costs as much as the statement; AUTOCOMMIT, because every statement
    here is complete in itself; READ COMMITTED whatever the role's default, because SKIP LOCKED needs it.

    Statements of one link run one after the other. One that takes longer than `timeout` seconds breaks the link:
    a half-open connection would otherwise hang for as long as TCP keeps hoping.

    Args:
        engine: the user's.
        purpose: shown in `pg_stat_activity` as part of the application's name.
        schema: of the tables; None for the search path's.
        timeout: seconds a statement may take.
    """

    def __init__(self, engine: AsyncEngine, *, purpose: str, schema: str | None, timeout: float = 10.0) -> None:
        self._pool_of = engine
        self._purpose = purpose
        self._schema = schema
        self._timeout = timeout
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()
        self.on_open: Callable[[AsyncConnection], Awaitable[None]] | None = None
        self.on_idle: Callable[[], None] | None = None

    async def execute(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """Run one statement and return its rows.

        Raises:
            DBAPIError, OSError, TimeoutError: it failed; whether it took effect is unknown if the link broke.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(self._timeout):
                    connection = self._connection or await self._open()
                    result = await connection.execute(statement, parameters)
                    rows = result.all() if result.returns_rows else ()
            except BaseException as error:
                if not _is_usable_after(error):
                    await self._discard()
                raise
            if self.on_idle is not None:
                self.on_idle()
            return rows

    async def drop(self) -> None:
        """Close the connection; the next statement opens another."""
        async with self._lock:
            await self._discard()

    async def close(self) -> None:
        """Close the connection and the private engine; the link can be used again."""
        async with self._lock:
            await self._discard()
            if self._engine is not None:
                engine, self._engine = self._engine, None
                await engine.dispose()

    async def _open(self) -> AsyncConnection:
        if self._engine is None:
            self._engine = create_async_engine(
                self._pool_of.url,
                pool=self._pool_of.sync_engine.pool.recreate(),
                isolation_level="AUTOCOMMIT",
                execution_options={"schema_translate_map": {None: self._schema}} if self._schema else {},
            )
        connection = await self._engine.connect()
        self._connection = connection
        await connection.execute(SESSION, {"application": f"sqla_oban {self._purpose}"})
        if self.on_open is not None:
            await self.on_open(connection)
        return connection

    async def _discard(self) -> None:
        """Never raises and never hangs: the connection may be broken in any way."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await connection.invalidate()
                await connection.close()


SESSION = text(
    "SELECT set_config('default_transaction_isolation', 'read committed', false), "
    "set_config('datestyle', 'ISO', false), "  # the claim and the lease hand moments over as text
    "set_config('idle_session_timeout', '0', false), set_config('application_name', :application, false)"
)


def is_bad_data(error: Exception) -> bool:
    """Whether a statement failed because of the values it carried, so that trying it again would fail again."""
    if not isinstance(error, StatementError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(error.orig, TypeError | ValueError) or (state is not None and state.startswith(BAD_DATA))


def _is_usable_after(error: BaseException) -> bool:
    """PostgreSQL answered, and did not close the connection.

    Judged by the SQLSTATE as well: SQLAlchemy 2.0 does not recognise all of asyncpg's words for a closed connection.
    """
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    state = _sqlstate(error)
    return state is not None and not state.startswith(CONNECTION_LOST)


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
