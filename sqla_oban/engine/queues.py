"""Keeps the queues of this node as they are wanted: by its settings, by the table, and by other libraries' signals."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqla_oban.control.limits_told import limits_told
from sqla_oban.control.queue_info import QueueInfo
from sqla_oban.engine.database import Link
from sqla_oban.engine.limits import Limits
from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.producer import Producer
from sqla_oban.engine.producers import Producers
from sqla_oban.engine.service import Service
from sqla_oban.engine.signals import ANYBODY, Action, QueuesChanged, Steer
from sqla_oban.engine.standing import UNKNOWN, Standing, Word, standings
from sqla_oban.queries.queues import EVERY_QUEUE, WORDS
from sqla_oban.settings import QueueConfig

log = logging.getLogger(__name__)

INTERVAL = 30.0
"""Seconds between two looks at the table that nobody asked for: a signal may be lost without a trace."""
DEAF_INTERVAL = 1.0
"""The same while notifications do not arrive."""
MOST_QUEUES: Final = 100
"""How many queues may run here for a signal to start one more."""
BACKLOG: Final = 1_000
"""How many signals may wait; the oldest are dropped."""


class LocalQueues(Service):
    """Applies what has changed since it looked last.

    The table is the truth about what our operators said; it is read before anything is claimed, when a signal says so,
    whenever hearing begins anew, and now and then. A signal of another library is carried out at once, and holds until
    something is said in the table about that queue again.

    Args:
        configured: the queues that the runner was started with.
    """

    def __init__(
        self,
        link: Link,
        notifier: Notifier,
        producers: Producers,
        *,
        name: str,
        node: str,
        configured: Mapping[str, QueueConfig],
    ) -> None:
        super().__init__(node=node, interval=INTERVAL)
        self._link = link
        self._notifier = notifier
        self._producers = producers
        self._name = name
        self._configured = configured
        self._applied: dict[str, Standing] = {}
        self._heard: deque[Steer | QueuesChanged] = deque(maxlen=BACKLOG)
        self._echo: Mapping[str, Any] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start the queues that are to run here; raises what goes wrong with that."""
        async with self._turn:
            await self._look()
        await super().start()

    async def stop(self) -> None:
        """Change nothing any more; queues that are being stopped are left to the node."""
        await super().stop()
        async with self._turn:
            await self._producers.stop()

    async def tick(self) -> float | None:
        """Carry out what was signalled, in its order, and look at the table."""
        async with self._turn:
            while self._heard:
                match self._heard[0]:
                    case Steer() as order:
                        await self._carry_out(order)
                    case QueuesChanged():
                        await self._look()
                self._heard.popleft()
            await self._look()
        return None if self._notifier.hearing else DEAF_INTERVAL

    async def settle(self) -> None:
        """Apply what was just committed; when this returns, nothing is claimed any more that should not be.

        If the database does not answer, it is applied as soon as it does.
        """
        try:
            async with self._turn:
                if not self.stopping:
                    await self._look()
        except Exception as error:
            log.warning("what was said of the queues is kept, and applied here later: %s", error)
            self.wake()
        await asyncio.gather(*(producer.claim_ended() for producer in self._producers if producer.paused))

    def hear(self, signal: Steer | QueuesChanged, notice: Mapping[str, Any]) -> None:
        """Take a signal in, in the runner's loop.

        Our own commands are told to other libraries in their words besides. These follow upon ours and are passed
        over here, or a late one would undo what was said since.
        """
        echo, self._echo = self._echo, signal.said if isinstance(signal, QueuesChanged) else None
        if notice == echo or not self._concerns_us(signal):
            return
        if not (isinstance(signal, QueuesChanged) and self._heard and isinstance(self._heard[-1], QueuesChanged)):
            self._heard.append(signal)
        self.wake()

    def check(self) -> list[QueueInfo]:
        """The queues that run here."""
        return [
            QueueInfo(
                queue=queue,
                node=self.node,
                name=self._name,
                limit=producer.limit,
                paused=producer.paused,
                running=producer.running.ids,
                started_at=producer.started_at,
                uuid=producer.uuid,
                **limits_told(producer.claims.limits.told()),
            )
            for queue, producer in sorted(self._producers.open.items())
            if producer.started_at is not None
        ]

    async def _look(self) -> None:
        rows = await self._link.execute(WORDS, {"of_runners": self._name, "on_node": self.node})
        wanted = standings((Word._make(row) for row in rows), self._configured)
        wanted.update((queue, UNKNOWN) for queue in self._applied.keys() - wanted.keys())
        changed = {queue: standing for queue, standing in wanted.items() if self._applied.get(queue) != standing}
        await self._apply(changed)
        self._applied = wanted

    async def _apply(self, wanted: Mapping[str, Standing]) -> None:
        """Has no effect the second time, so that it can be tried again after a failure."""
        for queue, standing in wanted.items():
            producer = self._producers.open.get(queue)
            if producer is None and standing.running:
                self._producers.add(queue, standing.limit, paused=standing.paused, limits=standing.limits)
            elif producer is not None and standing.running:
                producer.scale(standing.limit, standing.limits)
                _set_paused([producer], paused=standing.paused)
            elif producer is not None:
                self._producers.close(queue)
        if wanted:
            await self._producers.start_added()

    async def _carry_out(self, order: Steer) -> None:
        running = self._producers.open
        named = [running[order.queue]] if order.queue in running else []
        match order.action:
            case Action.PAUSE | Action.RESUME:
                named = list(running.values()) if order.queue == EVERY_QUEUE else named
                _set_paused(named, paused=order.action is Action.PAUSE)
            case Action.SCALE if order.limit is not None:
                for producer in named:
                    producer.scale(order.limit)
            case Action.STOP:
                for producer in named:
                    self._producers.close(producer.queue)
            case Action.START if not named:
                self._start(order)
        if named or order.action is Action.START:
            await self._producers.start_added()

    def _start(self, order: Steer) -> None:
        if order.queue == EVERY_QUEUE or len(self._producers.open) >= MOST_QUEUES:
            log.warning("ignored a signal to start queue %r", order.queue)
            return
        config = self._configured.get(order.queue, QueueConfig())
        limits = self._applied[order.queue].limits if order.queue in self._applied else Limits.of(config)
        self._producers.add(order.queue, order.limit or config.limit, paused=order.paused, limits=limits)

    def _concerns_us(self, signal: Steer | QueuesChanged) -> bool:
        """Whoever runs no queues starts none because everybody is told to."""
        if isinstance(signal, QueuesChanged) or signal.ident == f"{self._name}.{self.node}":
            return True
        return signal.ident == ANYBODY and (signal.action is not Action.START or bool(self._configured))


def _set_paused(producers: Iterable[Producer], *, paused: bool) -> None:
    for producer in producers:
        if paused:
            producer.pause()
        else:
            producer.resume()
