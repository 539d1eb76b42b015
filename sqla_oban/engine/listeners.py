"""LISTEN, for each driver: the only place that looks behind SQLAlchemy's connection."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_oban.identifiers import quoted

Heard = Callable[[str, str], None]
"""Called with a channel and a payload; must neither block nor raise."""


class Listener(Protocol):
    """Hears notifications on a connection that is used for statements besides.

    The contract, which a test suite checks for each driver: every notification on the channels is handed over once,
    in order, also those that arrive while a statement runs; the end of the connection is reported by `lost`.
    """

    async def listen(self, channels: Sequence[str]) -> None:
        """Begin to hear `channels`."""

    def resume(self) -> None:
        """To be called after each statement on the connection."""

    def close(self) -> None:
        """To be called before the connection is closed."""


class AsyncpgListener:
    """asyncpg reads its socket all the time and calls back."""

    def __init__(self, connection: Any, heard: Heard, lost: Callable[[], None]) -> None:
        self._connection = connection
        self._heard = heard
        connection.add_termination_listener(lambda _: lost())

    async def listen(self, channels: Sequence[str]) -> None:
        """Begin to hear `channels`."""
        for channel in channels:
            await self._connection.add_listener(channel, self._on_notify)

    def resume(self) -> None:
        """asyncpg never stopped."""

    def close(self) -> None:
        """asyncpg cleans up by itself."""

    def _on_notify(self, _: object, __: int, channel: str, payload: str) -> None:
        self._heard(channel, payload)


class PsycopgListener:
    """psycopg reads its socket only during statements; between them the event loop watches it here."""

    def __init__(self, connection: Any, heard: Heard, lost: Callable[[], None]) -> None:
        self._connection = connection
        self._heard = heard
        self._lost = lost
        self._socket = connection.fileno()
        self._loop = asyncio.get_running_loop()
        connection.add_notify_handler(lambda notify: heard(notify.channel, notify.payload))

    async def listen(self, channels: Sequence[str]) -> None:
        """Begin to hear `channels`."""
        for channel in channels:
            await self._connection.execute(f"LISTEN {quoted(channel)}")
        self.resume()

    def resume(self) -> None:
        """A statement's own watch on the socket has replaced ours, and may have read what ours waited for."""
        if self._connection.closed:
            self._lost()
        else:
            self._loop.add_reader(self._socket, self._read)
            self._hand_over()

    def close(self) -> None:
        """Else the watch would outlive the socket, and the next connection may get the same descriptor."""
        self._loop.remove_reader(self._socket)

    def _read(self) -> None:
        if self._connection.lock.locked():  # a statement is about to take over the watch
            self._loop.remove_reader(self._socket)
            return
        try:
            self._connection.pgconn.consume_input()
        except Exception:  # psycopg.OperationalError: the server has closed the connection
            self._loop.remove_reader(self._socket)
            self._lost()
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        pgconn = self._connection.pgconn
        while (notify := pgconn.notifies()) is not None:
            self._heard(notify.relname.decode(), notify.extra.decode())


async def listener(connection: AsyncConnection, heard: Heard, lost: Callable[[], None]) -> Listener:
    """The listener for the driver of `connection`."""
    driver = (await connection.get_raw_connection()).driver_connection
    kind = AsyncpgListener if connection.dialect.driver == "asyncpg" else PsycopgListener
    return kind(driver, heard, lost)
