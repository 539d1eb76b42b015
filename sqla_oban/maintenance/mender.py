"""Brings on what of workflows, chains and batches was left unsettled, and forgets those without jobs."""

import logging
import math
import time
from collections.abc import Mapping
from uuid import UUID

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.queries.batches import Mended, forget_batches, mend_batches
from sqla_oban.queries.chains import mend_chains
from sqla_oban.queries.overdue import FROM_THE_FIRST, Overdue, overdue, undue
from sqla_oban.queries.workflow import forget
from sqla_oban.settings import MenderSettings
from sqla_oban.telemetry.events import WorkflowsMended

log = logging.getLogger(__name__)

FORGET, FORGET_BATCHES = forget(), forget_batches()
FORGET_INTERVAL = 600.0
"""Seconds between two looks for workflows and batches without jobs."""
FIRST = UUID(int=0)


class Mender(Service):
    """The net below the triggers that bring workflows, chains and batches on.

    For whom it is there stands beside them, in `migrations/workflows.py`, `chains.py` and `batches.py`. What it does
    is done by the triggers' own functions, so it is right beside everything else, under two leaders as well.
    """

    def __init__(self, link: Link, leader: Leader, *, node: str, schema: str | None, settings: MenderSettings) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._leader = leader
        self._settings = settings
        self._overdue, self._undue = overdue(schema), undue(schema)
        self._mend_chains = mend_chains(schema)
        self._mend_batches = mend_batches(schema)
        self._after = FIRST
        self._forgot = -math.inf

    async def tick(self) -> None:
        """Look at the jobs of workflows that have ended, at all chains that wait, and at the next of the batches."""
        if self._leader.is_leader:
            await self._mend_workflows()
        if self._leader.is_leader and not self.stopping:
            await self._mend_others()
        if self._leader.is_leader and time.monotonic() - self._forgot > FORGET_INTERVAL:
            await self._forget()

    async def _forget(self) -> None:
        """Workflows at once, batches, of which there may be any number, some at a time.

        What a lease that was late broke off is gone on with in the next turn.
        """
        await self._link.execute(FORGET, {"age": self._settings.keep})
        asked = {"age": self._settings.keep, "batch": self._settings.batch}
        while self._leader.is_leader and not self.stopping:
            if len(await self._link.execute(FORGET_BATCHES, asked)) < self._settings.batch:
                self._forgot = time.monotonic()
                break

    async def _mend_workflows(self) -> None:
        """Settle what is overdue, batch by batch; what cannot be settled now is left for the next turn."""
        batch = self._settings.batch
        mended = {row[0] for row in await self._link.execute(self._undue, {"batch": batch})}
        key: Mapping[str, object] = FROM_THE_FIRST
        while self._leader.is_leader and not self.stopping:
            (row,) = await self._link.execute(self._overdue, {"batch": batch, **key})
            found = Overdue._make(row)
            mended.update(found.jobs or ())
            if found.looked < batch:
                break
            key = {"moment": found.moment, "id": found.id}
        if mended:
            log.warning("%d jobs of workflows had ended without releasing what depends on them", len(mended))
            telemetry.emit(WorkflowsMended(node=self.node, jobs=tuple(sorted(mended))))

    async def _mend_others(self) -> None:
        batch = self._settings.batch
        (chains,) = (await self._link.execute(self._mend_chains, {"batch": batch}))[0]
        asked = {"batch": batch, "after": self._after}
        [mended] = map(Mended._make, await self._link.execute(self._mend_batches, asked))
        self._after = mended.last or FIRST
        if chains or mended.batches:
            log.info("%d chains and %d batches went on that had been held up", chains, mended.batches)
