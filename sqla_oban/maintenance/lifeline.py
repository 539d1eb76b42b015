"""Takes jobs from producers that are gone."""

import logging
import math
import time
from typing import Any

from sqla_oban import telemetry
from sqla_oban.engine.aside import MOST_ASIDE, Aside
from sqla_oban.engine.database import Link
from sqla_oban.engine.failures import concerns_a_row
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.errors import reason
from sqla_oban.queries.producers import SWEEP
from sqla_oban.queries.rescue import FIRST_SUSPECT, Rescued, rescue
from sqla_oban.settings import LifelineSettings
from sqla_oban.states import JobState
from sqla_oban.telemetry.events import JobRefused, JobRescued

log = logging.getLogger(__name__)

SWEEP_INTERVAL = 60.0
"""Seconds between two looks for producers that are gone."""


class Lifeline(Service):
    """Rescues by proof of death, not by age: a job may run for days on a node that lives.

    An orphan that a trigger or a unique index of the user's refuses to have changed is put aside: the others must not
    wait for it.
    """

    def __init__(
        self, link: Link, leader: Leader, *, node: str, schema: str | None, settings: LifelineSettings
    ) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._leader = leader
        self._settings = settings
        self._rescue = rescue(schema)
        self._swept = -math.inf
        self._aside = Aside()

    async def tick(self) -> None:
        """Rescue all orphans, then forget the producers that left them."""
        batch = self._settings.batch
        while self._leader.is_leader and not self.stopping:
            asked = {
                "grace": self._settings.grace,
                "rescue_after": self._settings.rescue_after,
                "aside": self._aside.ids,
            }
            try:
                rows = await self._link.execute(self._rescue, {**asked, "batch": batch})
            except Exception as error:
                if not concerns_a_row(error) or len(self._aside) >= MOST_ASIDE:
                    raise
                batch = await self._narrowed(batch, asked, error)
                continue
            for job in map(Rescued._make, rows):
                log.warning("job %d of queue %r lost its node: now %s", job.id, job.queue, job.state)
                telemetry.emit(JobRescued(node=self.node, id=job.id, queue=job.queue, state=JobState(job.state)))
            if len(rows) < batch:
                await self._sweep(soon=bool(rows))
                return

    async def _sweep(self, *, soon: bool) -> None:
        """Rows of producers that left nothing behind are in nobody's way; once a minute will do."""
        if soon or time.monotonic() - self._swept > SWEEP_INTERVAL:
            await self._link.execute(SWEEP)
            self._swept = time.monotonic()

    async def _narrowed(self, batch: int, asked: dict[str, Any], error: Exception) -> int:
        """One of the orphans is refused: how many to take next, until it is the first of them and is put aside."""
        if batch > 1:
            return batch // 2
        for row in await self._link.execute(FIRST_SUSPECT, asked):
            pause, why = self._aside.put(row.id), reason(error)
            log.warning("job %d lost its node and could not be rescued for %.0f s: %s", row.id, pause, why)
            telemetry.emit(JobRefused(node=self.node, id=row.id, error=why, retry_in=pause))
        return self._settings.batch
