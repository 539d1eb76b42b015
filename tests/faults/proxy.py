"""A way to PostgreSQL that can fall silent: what a cut wire looks like, which nobody is told of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import URL

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes connections on to a server's socket, until told to swallow what comes through some of them."""

    def __init__(self, server: Path, directory: Path) -> None:
        self.directory = directory
        self._server = server
        self._silent: set[asyncio.StreamWriter] = set()
        self._purposes: dict[asyncio.StreamWriter, bytes] = {}
        self._connections: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Proxy"]:
        listening = await asyncio.start_unix_server(self._accept, self.directory / SOCKET)
        try:
            yield self
        finally:
            listening.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def url(self, server_url: URL) -> URL:
        """The same server, by this way."""
        return server_url.update_query_dict({"host": str(self.directory)})

    def silence(self, purpose: str) -> int:
        """Swallow everything on the runner's present connections of one purpose; says how many there are."""
        mark = f"sqla_oban {purpose}".encode()
        found = {writer for writer, seen in self._purposes.items() if mark in seen}
        self._silent |= found
        return len(found)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._pass_on(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._purposes[writer] = b""
        to_reader, to_writer = await asyncio.open_unix_connection(self._server / SOCKET)
        ways = [
            asyncio.create_task(self._pump(reader, to_writer, writer)),
            asyncio.create_task(self._pump(to_reader, writer, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._purposes.pop(writer, None)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (to_writer, writer):
                end.close()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if client in self._silent:
                    continue
                if to is not client and len(self._purposes.get(client, b"")) < 20_000:
                    self._purposes[client] = self._purposes.get(client, b"") + data
                to.write(data)
                await to.drain()
