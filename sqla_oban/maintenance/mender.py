"""Gives the turn in chains that are stuck."""

import logging

from sqla_oban.engine.database import Link
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.queries.chains import mend_chains

log = logging.getLogger(__name__)

INTERVAL = 30.0
"""Seconds between two looks: what is mended here is rare, and why it can happen at all stands in migrations/chains.py."""
BATCH = 1_000


class Mender(Service):
    """The safety net of what the triggers do."""

    def __init__(
        self, link: Link, leader: Leader, *, node: str, schema: str | None, interval: float = INTERVAL
    ) -> None:
        super().__init__(node=node, interval=interval)
        self._link = link
        self._leader = leader
        self._mend_chains = mend_chains(schema)

    async def tick(self) -> None:
        """Look once."""
        if self._leader.is_leader:
            [(mended,)] = await self._link.execute(self._mend_chains, {"batch": BATCH})
            if mended:
                log.info("%d chains went on that had been held up by a lock", mended)
