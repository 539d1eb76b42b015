"""Makes due jobs available, and finds work whose wake-up was lost."""

import logging
import time
from collections.abc import Iterable

from sqla_oban import telemetry
from sqla_oban.engine.aside import MOST_ASIDE, Aside
from sqla_oban.engine.database import Link
from sqla_oban.engine.failures import concerns_a_row
from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.producer import Producer
from sqla_oban.engine.service import Service
from sqla_oban.errors import reason
from sqla_oban.queries.stage import FIRST_DUE, Staged, stage
from sqla_oban.settings import StagerSettings
from sqla_oban.telemetry.events import JobRefused, JobsStaged

log = logging.getLogger(__name__)

TOGETHER = 0.005
"""Seconds between two looks; what becomes due within them is made available together."""
RESPITE = 10.0
"""Looks that take long, as they do behind many dead index entries, are followed by so many times that of rest."""


class Stager(Service):
    """One look at the table every three seconds, for all queues at once; sooner when a job is due sooner.

    What is due before the next look is known in time: a look says what is due until then, writers tell of what they
    schedule within five seconds (`oban_jobs_wake` of the migration), and this node's acker of what it puts off.

    One look that took long may have met with a process that was stopped, or a database that was, for a moment; only
    after two in succession does it rest. So it knows before a look for how long it may rest after it.
    """

    def __init__(
        self,
        link: Link,
        notifier: Notifier,
        producers: Iterable[Producer],
        *,
        node: str,
        schema: str | None,
        settings: StagerSettings,
    ) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._notifier = notifier
        self._producers = producers
        self._settings = settings
        self._stage = stage(schema)
        self._limit = settings.limit
        self._took = 0.0
        self._aside = Aside()

    async def tick(self) -> float | None:
        """Stage what is due and wake the producers that have something to do."""
        interval = self._settings.interval if self._notifier.hearing else self._settings.deaf_interval
        asked = {
            "limit": self._limit,
            "aside": self._aside.ids,
            "producers": [str(producer.uuid) for producer in self._producers],
            "asleep": [producer.queue for producer in self._producers if producer.asleep],
            "horizon": max(interval, self._took * RESPITE),
        }
        began = time.monotonic()
        try:
            found = Staged._make((await self._link.execute(self._stage, asked))[0])
        except Exception as error:
            if not concerns_a_row(error) or len(self._aside) >= MOST_ASIDE:
                raise
            await self._narrow(error)
            return 0.0
        last, self._took = self._took, time.monotonic() - began
        interval = max(interval, min(last, self._took) * RESPITE)
        if found.jobs:
            telemetry.emit(JobsStaged(node=self.node, queues=tuple(sorted(found.queues)), count=found.jobs))
        for producer in self._producers:
            for job_id, attempt in found.doomed:
                producer.running.cancel(job_id, attempt)
            if producer.queue in found.queues or producer.queue in found.waiting:
                producer.look()
        if found.jobs >= self._limit:
            return 0.0
        self._limit = self._settings.limit
        return interval if found.next_due is None else max(found.next_due, TOGETHER)

    def expect(self, seconds: float) -> None:
        """A job was put off by this node for so long, perhaps less than until the next look. Safe from any thread."""
        if seconds < self._settings.interval:
            self.wake()

    async def _narrow(self, error: Exception) -> None:
        """One of the due jobs is refused: stage fewer at a time, until it is the first of them; then put it aside."""
        if self._limit > 1:
            self._limit //= 2
            return
        self._limit = self._settings.limit
        for row in await self._link.execute(FIRST_DUE, {"aside": self._aside.ids}):
            pause, why = self._aside.put(row.id), reason(error)
            log.warning("job %d could not be made available and is left alone for %.0f s: %s", row.id, pause, why)
            telemetry.emit(JobRefused(node=self.node, id=row.id, error=why, retry_in=pause))
