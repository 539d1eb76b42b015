"""A runner in a process of its own, as its supervisor sees it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence

UP = b"u"
STOP = b"s"
HURRY = b"h"
"""What is said on the line between the two: that the runner runs, that it is to stop, that it is to hurry."""


class RunnerProcess:
    """A started process that runs `sqla-oban run` with a line to its supervisor.

    It is a process group of its own, so that Ctrl-C is for the supervisor. What it is to do is said on the line and not
    by signals: a service manager may send its own to everybody, and two of them would mean that it is to hurry. If the
    line breaks, the supervisor is gone, and the runner stops as if it was told to.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, arguments: Sequence[str], number: int) -> "RunnerProcess":
        """Start one.

        Args:
            arguments: of the command line, as the supervisor has them.
            number: which runner it is.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sqla_oban", *arguments),
                *("--processes", "1", "--line", f"{number}:{theirs.fileno()}"),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        return cls(process, *await asyncio.open_connection(sock=ours))

    async def is_up(self) -> bool:
        """Wait until it runs or has ended; which of the two."""
        try:
            return await self._reader.read(1) == UP
        except ConnectionResetError:  # it has ended without hearing what it was told
            return False

    def stop(self) -> None:
        """Have it let its jobs end, and end."""
        self._writer.write(STOP)

    def hurry(self) -> None:
        """Have it end without waiting for its jobs."""
        self._writer.write(HURRY)

    def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def ended(self) -> int:
        """Wait until it has ended; its exit code, or minus the signal that it died of."""
        code = await self._process.wait()
        self._writer.close()
        return code
