"""Looks now and then at what there is to do, for who measures it."""

from sqla_oban import telemetry
from sqla_oban.engine.service import Service
from sqla_oban.runner import SqlaOban
from sqla_oban.settings.checks import positive
from sqla_oban.telemetry.bus import wanted
from sqla_oban.telemetry.events import QueueDepth, QueuesMeasured


class Survey(Service):
    """Emits `QueuesMeasured` while this node leads and somebody wants it.

    So one node asks for all, and a sum over nodes is right. The questions read a bounded number of rows, and go through
    the sessions of the application.

    Args:
        oban: whose queues.
        interval: seconds from one look to the next.
        always: look also while this node does not lead, as in an application that runs no jobs.

    Raises:
        ConfigurationError: `interval` is no number of seconds.

    >>> async with oban, Survey(oban): ...  # doctest: +SKIP
    """

    def __init__(self, oban: SqlaOban, *, interval: float = 15.0, always: bool = False) -> None:
        positive("interval", interval)
        super().__init__(node=oban.node, interval=interval)
        self._oban = oban
        self._always = always
        self._told = False

    async def tick(self) -> None:
        """Look, and tell. Who leads no longer takes back what it has told: another tells it now."""
        if not wanted(QueuesMeasured):
            return
        if not (self._always or self._oban.is_leader):
            if self._told:
                telemetry.emit(QueuesMeasured(node=self.node, depths=(), lags={}))
                self._told = False
            return
        found = await self._oban.queues.depths()
        depths = tuple(
            QueueDepth(depth.queue, state.value, count.jobs)
            for depth in found
            for state, count in sorted(depth.counts.items())
        )
        self._told = True
        telemetry.emit(QueuesMeasured(node=self.node, depths=depths, lags={one.queue: one.lag for one in found}))
