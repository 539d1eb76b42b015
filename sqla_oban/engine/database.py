"""The runner's own connections, apart from the user's pool."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable, Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sqla_oban.engine.directly import Compiled, Fetch, Rows, compiled, fetch_by
from sqla_oban.engine.failures import is_usable_after
from sqla_oban.engine.poolers import explained, promised_process
from sqla_oban.errors import ConfigurationError

T = TypeVar("T")

CLOSE_TIMEOUT = 0.5
CANCELLATIONS = 3
STANDSTILL = 0.1
"""Seconds by which a timeout is late only where the process, or its loop, stood still meanwhile."""
UNREAD = 0.5
"""The share of a timeout for which it is then waited on. `HeartbeatSettings.patience` has room for two such waits."""


class Link:
    """One connection, held open, in AUTOCOMMIT; opened at first use and again after it broke.

    It comes from a private engine made from the user's: the same address, credentials and connection hooks, but none
    of the user's pool. So neither side can starve the other, and two or three connections a process are enough.
    Held, because a checkout for each statement costs as much as the statement; AUTOCOMMIT, because every statement
    here is complete in itself; READ COMMITTED whatever the role's default, because SKIP LOCKED needs it.

    Statements of one link run one after the other. One that takes longer than `timeout` seconds breaks the link:
    a half-open connection would otherwise hang for as long as TCP keeps hoping.

    Behind a pooler (`pooled`, known once it is open) it changes no settings of the session, which others will get
    next, but for one that PgBouncer keeps apart for each of its clients.

    Args:
        engine: the user's.
        purpose: shown in `pg_stat_activity` as part of the application's name.
        schema: of the tables; None for the search path's.
        timeout: seconds a statement may take.
        lock_timeout: seconds it may wait for a lock; almost everything here passes over locked rows or can come back.
    """

    def __init__(
        self, engine: AsyncEngine, *, purpose: str, schema: str | None, timeout: float, lock_timeout: float = 2.0
    ) -> None:
        self.pooled = False
        self._application = engine
        self._purpose = purpose
        self._schema = schema
        self._timeout = timeout
        self._lock_timeout = lock_timeout
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self._fetch: Fetch | None = None
        self._compiled: dict[Executable, Compiled] = {}
        self._lock = asyncio.Lock()
        self.on_open: Callable[[AsyncConnection], Awaitable[None]] | None = None
        self.on_idle: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None

    async def execute(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """Run one statement and return its rows.

        Raises:
            DBAPIError, OSError, TimeoutError: it failed; whether it took effect is unknown if the link broke.
            ConfigurationError: the engine does not suit the pooler that it leads through.
        """
        return await self._alone(self._run(statement, parameters))

    async def fetch(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        """Run one statement of the hot path and return its rows, both as the driver has them.

        Raises:
            the driver's own error, OSError, TimeoutError: as those of `execute`.
        """
        return await self._alone(self._run_directly(statement, parameters))

    async def _alone(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which has the connection to itself."""
        try:
            await self._acquire()
        except BaseException:
            work.close()
            raise
        try:
            result = await _within(self._timeout, work)
        except BaseException as error:
            misfit = explained(error, self._application.dialect.driver)
            if misfit is not None or not is_usable_after(error):
                await self._discard()
            if misfit is not None:
                raise misfit from error
            raise
        finally:
            if self._connection is not None and self.on_idle is not None:
                self.on_idle()
            self._lock.release()
        return result

    def another(self, purpose: str) -> "Link":
        """One more link to the same address, not opened yet."""
        return Link(self._application, purpose=purpose, schema=self._schema, timeout=self._timeout)

    @contextlib.asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Keep statements waiting meanwhile, for half the time at most that they would wait.

        Raises:
            TimeoutError: it took longer, or a statement did before it.
        """
        await self._acquire()
        try:
            async with asyncio.timeout(self._timeout / 2):
                yield
        finally:
            self._lock.release()

    async def _acquire(self) -> None:
        """Wait for the connection, for as long as a statement may take."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._timeout
        try:
            async with asyncio.timeout(self._timeout):
                await self._lock.acquire()
        except TimeoutError:
            if loop.time() - due <= STANDSTILL:
                raise
            async with asyncio.timeout(self._timeout * UNREAD):  # who has it stood still as well, and reads on
                await self._lock.acquire()

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

    async def _run(self, statement: Executable, parameters: Mapping[str, Any] | None) -> Sequence[Row[Any]]:
        connection = self._connection or await self._open()
        result = await connection.execute(statement, parameters)
        return result.all() if result.returns_rows else ()

    async def _run_directly(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        connection = self._connection or await self._open()
        if self._fetch is None:
            self._fetch = await fetch_by(connection)
        if statement not in self._compiled:
            self._compiled[statement] = compiled(statement, connection.dialect, self._schema)
        return await self._fetch(self._compiled[statement], parameters)

    async def _open(self) -> AsyncConnection:
        if self._engine is None:
            self._engine = create_async_engine(
                self._application.url,
                pool=self._application.sync_engine.pool.recreate(),
                isolation_level="AUTOCOMMIT",
                execution_options={"schema_translate_map": {None: self._schema}} if self._schema else {},
            )
        self._connection = await self._engine.connect()
        try:
            await self._prepare(self._connection)
            if self.on_open is not None:
                await self.on_open(self._connection)
        except BaseException:  # half prepared is not usable, whatever the error says
            await self._discard()
            raise
        return self._connection

    async def _prepare(self, connection: AsyncConnection) -> None:
        given = {
            "promised": await promised_process(connection),
            "lock_timeout": f"{self._lock_timeout:.0f}s",
            "application": f"sqla_oban {self._purpose}",
        }
        self.pooled, isolation = (await connection.execute(SESSION, given)).one()[:2]
        if self.pooled and isolation != "read committed":
            raise ConfigurationError(
                f"behind a pooler a runner cannot choose its isolation level, and the default is {isolation!r}: "
                "ALTER ROLE ... SET default_transaction_isolation = 'read committed', or give its engine another role"
            )

    async def _discard(self) -> None:
        """Never raises and never hangs: the connection may be broken in any way."""
        if self._connection is None:
            return
        connection, self._connection, self._fetch = self._connection, None, None
        if self.on_close is not None:
            self.on_close()
        with contextlib.suppress(Exception):
            await _within(CLOSE_TIMEOUT, _close(connection))


async def _close(connection: AsyncConnection) -> None:
    await connection.invalidate()
    await connection.close()


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, if it comes in time.

    In a task of its own, and cancelled until it ends: psycopg answers the first cancellation by asking the server to
    cancel the query, and waits up to ten seconds for its word.

    A process that was stopped, or a job that blocked the loop, is no sign of a connection that hangs: what PostgreSQL
    has answered meanwhile is still to be read.

    Raises:
        TimeoutError: it took longer.
    """
    task, loop = asyncio.create_task(work), asyncio.get_running_loop()
    due = loop.time() + seconds
    try:
        await asyncio.wait([task], timeout=seconds)
        if loop.time() - due > STANDSTILL:
            await asyncio.wait([task], timeout=seconds * UNREAD)
    finally:
        in_time = task.done()
        for _ in range(0 if in_time else CANCELLATIONS):
            task.cancel()
            await asyncio.wait([task], timeout=CLOSE_TIMEOUT)
            if task.done():
                break
        if task.done() and not task.cancelled():
            task.exception()  # looked at, or asyncio complains that nobody did
    if not in_time:
        raise TimeoutError(f"PostgreSQL did not answer within {seconds:.1f} s")
    return task.result()


SESSION = text(
    "SELECT pooled, current_setting('default_transaction_isolation'), "
    "set_config('datestyle', 'ISO', false), "  # the claim and the lease hand moments over as text
    "CASE WHEN NOT pooled THEN set_config('default_transaction_isolation', 'read committed', false) END, "
    "CASE WHEN NOT pooled THEN set_config('lock_timeout', :lock_timeout, false) END, "
    "CASE WHEN NOT pooled THEN set_config('idle_session_timeout', '0', false) END, "
    "CASE WHEN NOT pooled THEN set_config('application_name', :application, false) END, "
    "CASE WHEN NOT pooled THEN set_config('tcp_keepalives_idle', '5', false) END, "  # no node's locks outlive it
    "CASE WHEN NOT pooled THEN set_config('tcp_keepalives_interval', '2', false) END, "
    "CASE WHEN NOT pooled THEN set_config('tcp_keepalives_count', '3', false) END, "
    "CASE WHEN NOT pooled THEN set_config('tcp_user_timeout', '10000', false) END "
    "FROM (SELECT pg_backend_pid() <> CAST(:promised AS integer) AS pooled) AS found"
)
"""Whether the session is ours alone; if so, its settings. `datestyle` is one that PgBouncer gives each client back."""
