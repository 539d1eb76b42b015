"""Brings on what the triggers of chains and batches could not."""

import logging
from uuid import UUID

from sqla_oban.engine.database import Link
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.queries.batches import Mended, mend_batches
from sqla_oban.queries.chains import mend_chains

log = logging.getLogger(__name__)

INTERVAL = 30.0
"""Seconds between two looks: what is mended is rare. Why it can be at all stands beside the triggers."""
BATCH = 1_000
FIRST = UUID(int=0)


class Mender(Service):
    """The safety net of what the triggers do."""

    def __init__(
        self, link: Link, leader: Leader, *, node: str, schema: str | None, interval: float = INTERVAL
    ) -> None:
        super().__init__(node=node, interval=interval)
        self._link = link
        self._leader = leader
        self._mend_chains = mend_chains(schema)
        self._mend_batches = mend_batches(schema)
        self._after = FIRST

    async def tick(self) -> None:
        """Look at all chains that wait, and at the next of the batches."""
        if not self._leader.is_leader:
            return
        [(chains,)] = await self._link.execute(self._mend_chains, {"batch": BATCH})
        asked = {"batch": BATCH, "after": self._after}
        [mended] = map(Mended._make, await self._link.execute(self._mend_batches, asked))
        self._after = mended.last or FIRST
        if chains or mended.batches:
            log.info("%d chains and %d batches went on that had been held up", chains, mended.batches)
