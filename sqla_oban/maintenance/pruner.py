"""Deletes jobs that ended long ago."""

import logging

from sqla_oban import telemetry
from sqla_oban.engine.database import Link, concerns_a_row
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.queries.prune import prunable, prune
from sqla_oban.settings import PrunerSettings
from sqla_oban.states import JobState
from sqla_oban.telemetry.events import JobsPruned

log = logging.getLogger(__name__)

MOST_KEPT = 1_000
"""Jobs that cannot be deleted in one turn, after which the rest of their state waits for the next."""


class Pruner(Service):
    """Keeps each final state for its own time; passes over jobs that a table of the user's refers to."""

    def __init__(self, link: Link, leader: Leader, *, node: str, settings: PrunerSettings) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._leader = leader
        self._batch = settings.batch
        self._ages = settings.seconds()
        self._prunable = {state: prunable(state) for state in self._ages}
        self._prune = {state: prune(state) for state in self._ages}

    async def tick(self) -> None:
        """Delete batch after batch, until nothing is left that is old enough."""
        count = 0
        for state in self._ages:
            count += await self._prune_state(state)
        if count:
            telemetry.emit(JobsPruned(node=self.node, count=count))

    async def _prune_state(self, state: JobState) -> int:
        count, kept = 0, list[int]()
        while self._leader.is_leader and not self.stopping and len(kept) < MOST_KEPT:
            asked = {"age": self._ages[state], "batch": self._batch, "kept": kept}
            ids = [row[0] for row in await self._link.execute(self._prunable[state], asked)]
            deleted = await self._delete(state, ids)
            count += len(deleted)
            kept += set(ids) - deleted
            if len(ids) < self._batch:
                break
        if kept:
            log.warning(
                "%d %s jobs are old enough to be deleted but locked or referred to by another table; "
                "give its foreign key ON DELETE CASCADE or SET NULL",
                len(kept),
                state,
            )
        return count

    async def _delete(self, state: JobState, ids: list[int]) -> set[int]:
        """Delete `ids`, by halves if one among them cannot be deleted; returns the deleted."""
        if not ids:
            return set()
        try:
            return {row[0] for row in await self._link.execute(self._prune[state], {"ids": ids})}
        except Exception as error:
            if not concerns_a_row(error):
                raise
            if len(ids) == 1:
                return set()
        half = len(ids) // 2
        return await self._delete(state, ids[:half]) | await self._delete(state, ids[half:])
