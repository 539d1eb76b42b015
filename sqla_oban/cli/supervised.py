"""A runner that a supervisor has started, and the line between the two."""

import asyncio
import socket
from dataclasses import dataclass

from sqla_oban.cli.runner_process import HURRY, UP
from sqla_oban.engine.interrupts import handled
from sqla_oban.runner import SqlaOban


@dataclass(frozen=True, slots=True)
class Line:
    """The end of the line that a runner is given.

    Args:
        number: which runner it is.
        descriptor: the file descriptor of a socket.
    """

    number: int
    descriptor: int

    @classmethod
    def parsed(cls, written: str) -> "Line":
        """As the supervisor writes it.

        >>> Line.parsed("2:7")
        Line(number=2, descriptor=7)
        """
        number, _, descriptor = written.partition(":")
        return cls(int(number), int(descriptor))


async def run_supervised(oban: SqlaOban, line: Line) -> None:
    """Run until the supervisor says otherwise or is gone, or until a signal; let running jobs end, and return."""
    asked, hurry = asyncio.Event(), asyncio.Event()
    ours = socket.socket(fileno=line.descriptor)
    ours.set_inheritable(False)  # what a job starts must not keep the line open
    reader, writer = await asyncio.open_connection(sock=ours)
    with handled(asked.set):
        listening = asyncio.create_task(_listen(reader, asked, hurry))
        try:
            await oban.start()
            writer.write(UP)
            await asked.wait()
        finally:
            await oban.stop(hurry=hurry)
            listening.cancel()
            writer.close()


async def _listen(reader: asyncio.StreamReader, asked: asyncio.Event, hurry: asyncio.Event) -> None:
    while word := await reader.read(1):
        asked.set()  # to stop is all that it is ever asked
        if word == HURRY:
            hurry.set()
    asked.set()
