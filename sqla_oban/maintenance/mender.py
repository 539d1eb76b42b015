"""Settles what of a workflow was left unsettled, and forgets workflows that have no jobs any more."""

import logging
import math
import time

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.queries.workflow import forget, overdue
from sqla_oban.settings import MenderSettings
from sqla_oban.telemetry.events import WorkflowsMended

log = logging.getLogger(__name__)

OVERDUE, FORGET = overdue(), forget()
FORGET_INTERVAL = 600.0
"""Seconds between two looks for workflows without jobs."""


class Mender(Service):
    """The net below the triggers that release jobs; `migrations/workflows.py` says for whom it is there.

    What it does is done by the same function, at the commit of the statement that finds what is overdue. So it is
    right beside everything else, under two leaders as well.
    """

    def __init__(self, link: Link, leader: Leader, *, node: str, settings: MenderSettings) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._leader = leader
        self._settings = settings
        self._forgot = -math.inf

    async def tick(self) -> None:
        """Settle what is overdue, batch by batch; what is found again at once is left for the next turn."""
        before: set[int] = set()
        while self._leader.is_leader and not self.stopping:
            found = {row[0] for row in await self._link.execute(OVERDUE, {"batch": self._settings.batch})}
            if found - before:
                log.warning("%d jobs of workflows had ended without releasing what depends on them", len(found))
                telemetry.emit(WorkflowsMended(node=self.node, jobs=tuple(sorted(found))))
            if len(found) < self._settings.batch or not found - before:
                break
            before = found
        if self._leader.is_leader and time.monotonic() - self._forgot > FORGET_INTERVAL:
            await self._link.execute(FORGET, {"age": self._settings.keep})
            self._forgot = time.monotonic()
