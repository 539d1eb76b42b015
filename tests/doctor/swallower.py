"""What a pooler in transaction mode does to notifications: they are taken, and never come."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import URL

SOCKET = ".s.PGSQL.5432"
NOTIFICATION = b"A"


@contextlib.asynccontextmanager
async def swallowing(server_url: URL, directory: Path) -> AsyncIterator[URL]:
    """An address of the same server, by which no notification comes through."""
    server = Path(str(server_url.query["host"])) / SOCKET
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(_pass_on(reader, writer, server))
        connections.add(connection)
        connection.add_done_callback(connections.discard)

    listening = await asyncio.start_unix_server(accept, directory / SOCKET)
    try:
        yield server_url.update_query_dict({"host": str(directory)})
    finally:
        listening.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Path) -> None:
    from_server, to_server = await asyncio.open_unix_connection(server)
    ways = [asyncio.create_task(_forth(reader, to_server)), asyncio.create_task(_back(from_server, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (to_server, writer):
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()


async def _forth(reader: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        to_server.write(data)
        await to_server.drain()


async def _back(from_server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Message by message: a letter, a length that counts itself, and the rest."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await from_server.readexactly(5)
            body = await from_server.readexactly(struct.unpack("!I", head[1:])[0] - 4)
            if head[:1] != NOTIFICATION:
                writer.write(head + body)
                await writer.drain()
