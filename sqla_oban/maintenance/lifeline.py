"""Takes jobs from producers that are gone."""

import logging
import math
import time

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.queries.producers import SWEEP
from sqla_oban.queries.rescue import Rescued, rescue
from sqla_oban.settings import LifelineSettings
from sqla_oban.states import JobState
from sqla_oban.telemetry.events import JobRescued

log = logging.getLogger(__name__)

SWEEP_INTERVAL = 60.0
"""Seconds between two looks for producers that are gone."""


class Lifeline(Service):
    """Rescues by proof of death, not by age: a job may run for days on a node that lives."""

    def __init__(
        self, link: Link, leader: Leader, *, node: str, schema: str | None, settings: LifelineSettings
    ) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._leader = leader
        self._settings = settings
        self._rescue = rescue(schema)
        self._swept = -math.inf

    async def tick(self) -> None:
        """Rescue all orphans, then forget the producers that left them."""
        asked = {
            "batch": self._settings.batch,
            "grace": self._settings.grace,
            "rescue_after": self._settings.rescue_after,
        }
        while self._leader.is_leader and not self.stopping:
            rescued = [Rescued._make(row) for row in await self._link.execute(self._rescue, asked)]
            for job in rescued:
                log.warning("job %d of queue %r lost its node: now %s", job.id, job.queue, job.state)
                telemetry.emit(JobRescued(node=self.node, id=job.id, queue=job.queue, state=JobState(job.state)))
            if len(rescued) < self._settings.batch:
                await self._sweep(soon=bool(rescued))
                return

    async def _sweep(self, *, soon: bool) -> None:
        """Rows of producers that left nothing behind are in nobody's way; once a minute will do."""
        if soon or time.monotonic() - self._swept > SWEEP_INTERVAL:
            await self._link.execute(SWEEP)
            self._swept = time.monotonic()
