"""Rebuilds indexes that have grown large with little in them."""

import asyncio
import logging
import time

from sqlalchemy import Executable, text
from sqlalchemy.exc import DBAPIError

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.errors import reason
from sqla_oban.identifiers import quoted
from sqla_oban.queries.reindex import CANDIDATES, LEFTOVERS, Candidate, comment, drop, rebuild
from sqla_oban.settings import ReindexerSettings
from sqla_oban.telemetry.events import IndexRebuilt

log = logging.getLogger(__name__)

FOLLOWER = 60.0
"""Seconds between two looks whether this node leads by now."""
PATIENCE = 60.0
"""Seconds that a rebuild waits for a transaction that was there before it, without being in anybody's way."""


class Reindexer(Service):
    """One index at a time, each by a statement that runs beside everything else.

    On a connection of its own, because it may take an hour, that is open only meanwhile. A rebuild that fails or is
    interrupted leaves an index that serves nobody; it is dropped before the next.
    """

    def __init__(self, link: Link, leader: Leader, *, node: str, home: str, settings: ReindexerSettings) -> None:
        super().__init__(node=node, interval=min(FOLLOWER, settings.interval))
        self._link = link
        self._leader = leader
        self._home = home
        self._settings = settings
        self._jobs = f"{quoted(home)}.oban_jobs"
        self._due = 0.0

    async def tick(self) -> None:
        """Rebuild what is worth it, if it is time and this node leads."""
        if not self._leader.is_leader or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._settings.interval
        try:
            await self._rebuild_all()
        except DBAPIError as error:
            log.warning("the indexes of oban_jobs could not be rebuilt, which needs their owner: %s", reason(error))
        except asyncio.CancelledError:
            if not self.stopping:
                raise
        finally:
            await self._link.close()

    async def _rebuild_all(self) -> None:
        for (name,) in await self._ask(LEFTOVERS.bindparams(jobs=self._jobs)):
            await self._ask(text(drop(self._home, name)))
        asked = {"jobs": self._jobs, "min_size": self._settings.min_size, "interval": self._settings.interval}
        for candidate in map(Candidate._make, await self._ask(CANDIDATES.bindparams(**asked))):
            if not self._leader.is_leader or self.stopping:
                self._due = 0.0  # who leads next goes on with it, and that may be this node
                return
            await self._rebuild(candidate)

    async def _rebuild(self, index: Candidate) -> None:
        began = time.monotonic()
        await self._ask(text(rebuild(self._home, index.name)))
        if index.mark is not None:
            await self._ask(text(comment(self._home, index.name, index.mark).replace(":", r"\:")))
        telemetry.emit(IndexRebuilt(node=self.node, index=index.name, seconds=time.monotonic() - began))

    async def _ask(self, statement: Executable) -> list[tuple[str, ...]]:
        """Run a statement, and give it up as soon as the service is to stop."""
        work = asyncio.ensure_future(self._link.execute(statement))
        stop = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not work.done():
            work.cancel()
        return [tuple(row) for row in await work]
