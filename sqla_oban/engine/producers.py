"""The producers of this node, which come and go with its queues."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from uuid import UUID

from sqla_oban import telemetry
from sqla_oban.backoff import reconnect
from sqla_oban.engine.acker import Acker
from sqla_oban.engine.limits import UNLIMITED, Limits
from sqla_oban.engine.producer import Producer
from sqla_oban.telemetry.events import QueueStarted, QueueStopped

log = logging.getLogger(__name__)

STOPPING = 3.0
"""Seconds that jobs have to end after they were told to stop."""
FLUSH = 0.05
"""Seconds between two looks whether the last outcomes of a queue are written."""


class Producers:
    """All producers that must be proven alive: those that claim, and those whose queue was stopped until they are done.

    May be read from any thread; is changed in the runner's loop.

    Args:
        make: makes the producer of a queue with a limit.
        acker: what writes the outcomes of their jobs.
        register: has a beat cover all that are here now.
        forget: removes the proof of one that is here no longer.
        grace: seconds that running jobs have to end when their queue is stopped.
    """

    def __init__(
        self,
        make: Callable[[str, int], Producer],
        acker: Acker,
        *,
        register: Callable[[], Awaitable[None]],
        forget: Callable[[UUID], Awaitable[None]],
        grace: float,
    ) -> None:
        self._make = make
        self._acker = acker
        self._register = register
        self._forget = forget
        self._grace = grace
        self._all: tuple[Producer, ...] = ()
        self._open: Mapping[str, Producer] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Producer]:
        return iter(self._all)

    def tell(self, what: Callable[[Producer], None]) -> None:
        """From any thread: have all of them do something in their own loop."""
        for producer in self._all:
            self._loop.call_soon_threadsafe(what, producer)

    @property
    def open(self) -> Mapping[str, Producer]:
        """The producers of the queues that run here, by queue."""
        return self._open

    def limits(self) -> Mapping[str, int]:
        """How many jobs of each queue may run here now."""
        return {queue: producer.limit for queue, producer in self._open.items()}

    def add(self, queue: str, limit: int, *, paused: bool, limits: Limits = UNLIMITED) -> None:
        """Have a queue run here from the next `start_added` on."""
        producer = self._make(queue, limit)
        producer.scale(limit, limits)
        producer.paused = paused
        self._loop = asyncio.get_running_loop()
        self._all = (*self._all, producer)
        self._open = {**self._open, queue: producer}

    async def start_added(self) -> None:
        """Prove that all live, also with what has changed about them, and only then have the new ones claim."""
        await self._register()
        for producer in self._open.values():
            if producer.stopping:
                await producer.start()
                telemetry.emit(QueueStarted(node=producer.node, queue=producer.queue, limit=producer.limit))

    def close(self, queue: str) -> None:
        """Have a queue claim no more from now on, and see it to its end beside everything else."""
        producer = self._open[queue]
        producer.paused = True
        self._open = {name: one for name, one in self._open.items() if one is not producer}
        task = asyncio.create_task(self._see_off(producer), name=f"sqla_oban stop of {queue}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """Leave those that are stopping to the stop of the node."""
        closing = list(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    async def _see_off(self, producer: Producer) -> None:
        """The beats go on until the last job has ended or is handed back: until then it must not be rescued."""
        stopped = asyncio.create_task(producer.stop())
        try:
            await asyncio.shield(stopped)
        finally:
            await stopped  # also if the node stops meanwhile: nothing is claimed after that
        await _tried("asking not to be rung", producer.leave())
        await producer.running.drain(self._grace)
        unfinished = producer.running.abandon()
        await producer.running.drain(STOPPING)
        await self._hand_back(producer)
        self._all = tuple(one for one in self._all if one is not producer)
        await _tried("removing the producer's row", self._forget(producer.uuid))
        telemetry.emit(QueueStopped(node=producer.node, queue=producer.queue, unfinished=unfinished))

    async def _hand_back(self, producer: Producer) -> None:
        """Once its outcomes are written; as often as it takes, because nobody else would do it for a living node."""
        failures, last = 0, set(self._acker.pending_ids)
        while last & set(self._acker.pending_ids):  # noqa: ASYNC110 (the acker has no bell for each outcome)
            await asyncio.sleep(FLUSH)
        while not await _tried("handing back", producer.release()):
            failures += 1
            await asyncio.sleep(reconnect(failures))


async def _tried(what: str, work: Awaitable[None]) -> bool:
    """Whether it went well; if not, the connection it was for is replaced, or the row runs out."""
    try:
        await work
    except Exception as error:
        log.warning("while a queue was stopped, %s failed: %s", what, error)
        return False
    return True
