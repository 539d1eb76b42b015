"""Keeps several runners going, each in a process of its own."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence

from sqla_oban.backoff import reconnect
from sqla_oban.cli.runner_process import RunnerProcess
from sqla_oban.engine.interrupts import handled

log = logging.getLogger(__name__)

STEADY = 60.0
"""Seconds after which a runner that dies had not died of its start."""
LONGEST = 30.0
"""Seconds at most until a runner that dies again and again is started again."""
UNHEARD = (-signal.SIGTERM, -signal.SIGINT)
"""How a runner ends that is sent a signal, as by a service manager that sends it to all, before it listens to any."""


class Supervisor:
    """Starts runners, starts those again that die, and has all of them stop when it is asked to.

    It divides no work: the runners find it in the database, as those on other machines do. It neither imports the
    application nor connects to the database, so nothing that goes wrong there ends it.

    Args:
        arguments: of the command line that each runner is started with.
        number: how many there are.
    """

    def __init__(self, arguments: Sequence[str], number: int) -> None:
        self._arguments = arguments
        self._number = number
        self._runners: set[RunnerProcess] = set()
        self._signals = 0
        self._stopping = asyncio.Event()
        self._failed = False

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT and until all runners have ended; the exit code.

        A second signal ends the grace period of the runners, a third one the runners. The first runner goes ahead:
        if it cannot start, which would be true of the others, its exit code is ours.
        """
        with handled(self._asked):
            first = await self._started(1)
            if not await first.is_up():
                return await self._ended(first)
            numbers = range(2, self._number + 1)
            await asyncio.gather(self._keep(1, first), *(self._keep(number) for number in numbers))
        return 1 if self._failed else 0

    async def _keep(self, number: int, runner: RunnerProcess | None = None) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            runner = runner or await self._started(number)
            code = await self._ended(runner)
            if self._stopping.is_set():
                self._failed |= code != 0
                return
            failures = 1 if loop.time() - began > STEADY else failures + 1
            delay = reconnect(failures, ceiling=LONGEST)
            log.warning("runner %d, process %d, %s; another starts in %.1f s", number, runner.pid, _ending(code), delay)
            runner = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _started(self, number: int) -> RunnerProcess:
        runner = await RunnerProcess.start(self._arguments, number)
        self._runners.add(runner)
        if self._stopping.is_set():  # asked meanwhile
            runner.stop()
        return runner

    async def _ended(self, runner: RunnerProcess) -> int:
        code = await runner.ended()
        self._runners.discard(runner)
        return 0 if self._stopping.is_set() and code in UNHEARD else code

    def _asked(self) -> None:
        self._signals += 1
        self._stopping.set()
        for runner in self._runners:
            match self._signals:
                case 1:
                    runner.stop()
                case 2:
                    runner.hurry()
                case _:
                    runner.kill()


def _ending(code: int) -> str:
    return f"died of signal {-code}" if code < 0 else f"ended with exit code {code}"
