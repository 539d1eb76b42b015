"""Proves that the producers of this node live; and makes the node stop its jobs when it cannot prove it.

The proof is a row a producer with a time to live, written from a thread of its own (`engine.pulse`), so that a job
that blocks the event loop does not look dead. After `ttl` seconds without proof, by PostgreSQL's clock, the leader
gives the node's jobs to others. Therefore a node that has not renewed for `ttl - margin`, by its own clock counted
from before it sent the last proof, stops them itself first: a job does not run in two places because of a cut wire.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID

from sqla_oban import telemetry
from sqla_oban.engine.clock import now
from sqla_oban.engine.database import Link
from sqla_oban.engine.producer import Producer
from sqla_oban.engine.service import Service
from sqla_oban.queries.producers import BEAT, DEREGISTER
from sqla_oban.settings import HeartbeatSettings
from sqla_oban.telemetry.events import Beaten, LivenessLost

try:
    VERSION = version("sqla-oban")
except PackageNotFoundError:  # copied into an application
    VERSION = "unknown"


class Heartbeat(Service):
    """Renews the rows of `producers`, whichever there are at the time.

    Args:
        hearing: whether notifications arrive.
        on_lost: called, on the heartbeat's thread, when the node can no longer count as alive.
        on_restored: called there when it does again.
    """

    def __init__(
        self,
        link: Link,
        producers: Iterable[Producer],
        *,
        name: str,
        node: str,
        settings: HeartbeatSettings,
        hearing: Callable[[], bool],
        on_lost: Callable[[], None],
        on_restored: Callable[[], None],
    ) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._producers = producers
        self._name = name
        self._settings = settings
        self._hearing = hearing
        self._on_lost, self._on_restored = on_lost, on_restored
        self._alarm: asyncio.TimerHandle | None = None
        self._lost = False
        self._good_until = math.inf

    async def start(self) -> None:
        """Prove it once before anything is claimed; raises what goes wrong with that."""
        await self.tick()
        await super().start()

    async def stop(self) -> None:
        """Prove nothing any more, and call no loss of it."""
        await super().stop()
        if self._alarm is not None:
            self._alarm.cancel()

    async def tick(self) -> float:
        """Prove that the producers live; returns when to do it again."""
        await self.prove()
        return min(self._settings.interval, max(0.0, self._good_until - now()) / 2)  # sooner after a slow beat

    async def prove(self) -> None:
        """Prove that the producers live, and tell what has changed about them; so are new ones registered."""
        if self._good_until < now():
            self._lose()  # the machine was suspended, and its timers with it
        sent, producers = now(), tuple(self._producers)
        rows = await self._link.execute(
            BEAT,
            {
                "uuids": [producer.uuid for producer in producers],
                "queues": [producer.queue for producer in producers],
                "limits": [producer.limit for producer in producers],
                "paused": [producer.paused for producer in producers],
                "running": [len(producer.running) for producer in producers],
                "over_all": [producer.claims.limits.told() for producer in producers],
                "name": self._name,
                "node": self.node,
                "ttl": self._settings.ttl,
                "version": VERSION,
                "hearing": self._hearing(),
                "clock": time.time(),
            },
        )
        beginnings: dict[UUID, datetime] = {row.uuid: row.started_at for row in rows}
        for producer in producers:
            producer.started_at = beginnings[producer.uuid]
        self._good_until = sent + self._settings.ttl - self._settings.margin
        self._set_alarm()
        telemetry.emit(Beaten(node=self.node))
        if self._lost:
            self._lost = False
            self._on_restored()

    async def forget(self, uuid: UUID) -> None:
        """Remove the row of a producer that is no longer among the producers: no beat after this brings it back."""
        await self._link.execute(DEREGISTER, {"uuids": [uuid]})

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(self._good_until - now(), self._lose)

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost = True
        telemetry.emit(LivenessLost(node=self.node))
        self._on_lost()
