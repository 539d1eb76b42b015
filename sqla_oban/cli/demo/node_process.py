"""A process that runs jobs for the demonstration, seen from outside."""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from typing import IO

import click

from sqla_oban.cli.demo.wire import Assignment, decode
from sqla_oban.telemetry.events import Event, LeadershipGained, LeadershipLost, RunnerStarted

MODULE = "sqla_oban.cli.demo.node"

STOPPING = 10.0
"""Seconds that a node has to stop before it is killed."""


class NodeProcess:
    """A started node, and what it says of itself.

    Args:
        process: the process.
        name: the node's name.
        errors: the file that its standard error goes to.
        on_event: called with each event that it reports.

    Attributes:
        up: whether it runs jobs.
        leads: whether it leads, by its own word.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, name: str, errors: IO[bytes], on_event: Callable[[Event], None]
    ) -> None:
        self.name = name
        self.pid = process.pid
        self.up = False
        self.leads = False
        self._process = process
        self._errors = errors
        self._on_event = on_event
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, assignment: Assignment, on_event: Callable[[Event], None]) -> "NodeProcess":
        """Start a node in a session of its own: Ctrl-C is for the demonstration, which then stops its nodes."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the process is gone
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(assignment.encode())
        return cls(process, assignment.node, errors, on_event)

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            ClickException: it has ended; the message has its last words.
        """
        if self._process.returncode is None:
            return
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise click.ClickException(f"{self.name} ended unexpectedly: {words[-1]}")

    async def kill(self) -> None:
        """End it as a crash would: SIGKILL cannot be caught."""
        if self._process.returncode is None:
            self._process.kill()
        await self._bury()

    async def stop(self) -> None:
        """Ask it to stop by closing its input; kill it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOPPING):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
        else:
            await self._bury()

    async def _bury(self) -> None:
        await self._process.wait()
        await self._listening
        self._errors.close()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = decode(line)
            self._heed(event)
            self._on_event(event)

    def _heed(self, event: Event) -> None:
        match event:
            case RunnerStarted():
                self.up = True
            case LeadershipGained():
                self.leads = True
            case LeadershipLost():
                self.leads = False
