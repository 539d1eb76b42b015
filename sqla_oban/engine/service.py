"""The one base of everything that runs beside the jobs: start, stop, turns, waiting, and what happens on errors."""

import asyncio
import contextlib
import logging
import random
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from sqla_oban import telemetry
from sqla_oban.backoff import reconnect
from sqla_oban.telemetry.events import ServiceFailed

log = logging.getLogger(__name__)

STOP_TIMEOUT = 15.0
"""Seconds that a turn may take to end when its service is stopped; longer than any statement's own timeout."""


class Service(ABC):
    """Something that takes turns: `tick`, wait, `tick`.

    A turn that raises is reported and tried again, with growing pauses: no error ends a service. A service stops
    between two turns, because a task that is cancelled in the middle of a query costs its connection. It may be
    started again, and stopping it twice, or before it was started, does nothing.

    Args:
        node: the node it runs on, for its events.
        interval: seconds between two turns, a tenth more or less at random; None to wait until woken.
    """

    def __init__(self, *, node: str, interval: float | None) -> None:
        self.node = node
        self._interval = interval
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether a turn that takes long should come to its end."""
        return self._task is None

    @abstractmethod
    async def tick(self) -> float | None:
        """Take one turn; returns the seconds until the next, or None for the interval."""

    async def start(self) -> None:
        """Begin to take turns. The service belongs to the event loop that starts it."""
        if self._task is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._bell = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failures = 0
        self._task = asyncio.create_task(self._run(), name=f"sqla_oban {type(self).__name__}")

    async def stop(self) -> None:
        """Take no further turn, and wait for the present one to end."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._stopping.set()
        self._bell.set()
        _, unfinished = await asyncio.wait([task], timeout=STOP_TIMEOUT)
        if unfinished:
            log.error("%s did not stop within %s s and is cancelled", type(self).__name__, STOP_TIMEOUT)
            task.cancel()
            await asyncio.wait([task], timeout=STOP_TIMEOUT)

    def wake(self) -> None:
        """Take the next turn now. May be called from any thread, and at any time."""
        if self._loop is None or self._task is None:
            return
        if _running_loop() is self._loop:
            self._bell.set()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._loop.call_soon_threadsafe(self._bell.set)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._bell.clear()
            try:
                delay = await self.tick()
                self._failures = 0
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise
                await self._pause_after(error)  # a cancellation of something else than this task is an error
            else:
                if not self._bell.is_set():
                    await self._rest(self._bell, self._jittered() if delay is None else delay)

    async def _pause_after(self, error: BaseException) -> None:
        """Bells do not cut this pause short: what failed a moment ago is not helped by haste."""
        self._failures += 1
        delay = reconnect(self._failures)
        name = type(self).__name__
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        log.log(level, "%s failed and is tried again in %.1f s", name, delay, exc_info=error)
        telemetry.emit(ServiceFailed(node=self.node, service=name, error=str(error), retry_in=delay))
        await self._rest(self._stopping, delay)

    def _jittered(self) -> float | None:
        return None if self._interval is None else self._interval * random.uniform(0.9, 1.1)

    async def _rest(self, until: asyncio.Event, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
