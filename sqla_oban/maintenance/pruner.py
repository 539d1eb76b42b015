"""Deletes jobs that ended long ago."""

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.queries.prune import prune
from sqla_oban.settings import PrunerSettings
from sqla_oban.telemetry.events import JobsPruned


class Pruner(Service):
    """Keeps each final state for its own time."""

    def __init__(self, link: Link, leader: Leader, *, node: str, settings: PrunerSettings) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._leader = leader
        self._batch = settings.batch
        self._rules = [(prune(state), age) for state, age in settings.seconds().items()]

    async def tick(self) -> None:
        """Delete batch after batch, until nothing is left that is old enough."""
        count = 0
        for statement, age in self._rules:
            deleted = self._batch
            while self._leader.is_leader and deleted >= self._batch:
                deleted = len(await self._link.execute(statement, {"age": age, "batch": self._batch}))
                count += deleted
        if count:
            telemetry.emit(JobsPruned(node=self.node, count=count))
