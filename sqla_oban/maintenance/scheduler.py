"""Makes jobs by the crontab."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.failures import concerns_a_row
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.loading import moment
from sqla_oban.engine.service import Service
from sqla_oban.errors import InvalidSchedule, reason
from sqla_oban.queries.cron import CLOCK, READ, TICK, declare
from sqla_oban.settings import SchedulerSettings
from sqla_oban.telemetry.events import CronFailed, CronTicked
from sqla_oban.workers.crontab import CronJob
from sqla_oban.workers.schedule import Missed, Schedule

log = logging.getLogger(__name__)

LONGEST_AGO = timedelta(days=3_653)
"""Ticks from before that are forgotten; the leap day that comes once in eight years is not."""
BARELY = 0.005
"""Seconds after a tick at which its turn comes, so that it has really come by PostgreSQL's clock."""


class Entry(NamedTuple):
    """An entry as it stands in the table; moments are PostgreSQL's, as text."""

    name: str
    expression: str
    timezone: str | None
    missed: str
    worker: str
    declared: bool
    paused: bool
    last_tick: str
    now: str


class Scheduler(Service):
    """Acts only while its node leads; that no tick makes two jobs does not depend on it (`queries.cron`).

    What is due is counted from an entry's last tick to the present by PostgreSQL's clock, so neither a wrong clock
    here nor a time without a leader loses a tick, or makes one twice.

    Args:
        entries: those that stand in this process's code. Others of the table that stand in code are not its business.
    """

    def __init__(
        self, link: Link, leader: Leader, entries: Mapping[str, CronJob], *, node: str, settings: SchedulerSettings
    ) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._leader = leader
        self._entries = entries
        self._settings = settings
        self._started: datetime | None = None
        self._is_declared = False
        self._complaints: dict[str, str] = {}

    async def tick(self) -> float | None:
        """Deal with every entry's due ticks; returns the seconds until the next one."""
        if self._started is None:
            self._started = moment((await self._link.execute(CLOCK))[0][0])
        if not self._leader.is_leader:
            self._is_declared = False
            return None
        await self._declare()
        entries = [Entry._make(row) for row in await self._link.execute(READ)]
        self._is_declared = self._entries.keys() <= {entry.name for entry in entries}
        delays = [await self._take(entry) for entry in entries if self._is_ours(entry)]
        return min([self._settings.interval, *(delay for delay in delays if delay is not None)])

    def _is_ours(self, entry: Entry) -> bool:
        return not entry.paused and (not entry.declared or entry.name in self._entries)

    async def _declare(self) -> None:
        """Once for each time that this node begins to lead, and again if somebody deleted one."""
        for name, entry in {} if self._is_declared else self._entries.items():
            try:
                await self._link.execute(declare(reboot=entry.schedule.is_reboot), entry.row())
            except Exception as error:
                if not concerns_a_row(error):
                    raise
                self._complain(name, reason(error))

    async def _take(self, entry: Entry) -> float | None:
        """Deal with one entry; whatever is wrong with it is told, and harms no other."""
        try:
            schedule = Schedule(entry.expression, entry.timezone, entry.missed)
            await self._make_jobs(entry, schedule)
        except Exception as error:
            if not (isinstance(error, InvalidSchedule) or concerns_a_row(error)):
                raise
            self._complain(entry.name, reason(error))
            return None
        self._complaints.pop(entry.name, None)
        return self._until_next(entry, schedule)

    async def _make_jobs(self, entry: Entry, schedule: Schedule) -> None:
        due = self._due(entry, schedule)
        if not due or self.stopping:
            return
        ticks = self._made_up_for(due, moment(entry.now), schedule)
        rows = await self._link.execute(
            TICK,
            {
                "entry": entry.name,
                "seen": entry.last_tick,
                "by": entry.expression,
                "reached": due[-1].replace(tzinfo=None).isoformat(),
                "ticks": [tick.isoformat().replace("+00:00", "Z") for tick in ticks],
                "default_zone": self._settings.timezone,
            },
        )
        if rows:  # else another leader was faster, or somebody has just changed the entry
            ids = tuple(rows[0].ids)
            told = CronTicked(node=self.node, name=entry.name, worker=entry.worker, ticks=tuple(due), ids=ids)
            telemetry.emit(told)

    def _due(self, entry: Entry, schedule: Schedule) -> list[datetime]:
        last, now = moment(entry.last_tick), moment(entry.now)
        if schedule.is_reboot:
            return [now] if self._started is not None and last < self._started else []
        if last >= now:  # as somebody wrote it
            return []
        return schedule.between(
            max(last, now - LONGEST_AGO), now, most=self._settings.most, default=self._settings.timezone
        )

    def _made_up_for(self, due: list[datetime], now: datetime, schedule: Schedule) -> list[datetime]:
        """Those of the due ticks that make jobs: the fresh ones, and of those missed what the entry wants."""
        fresh = [tick for tick in due if now - tick <= timedelta(seconds=self._settings.tolerance)]
        match schedule.missed:
            case Missed.ALL:
                return due
            case Missed.LATEST:
                return fresh or due[-1:]
            case _:
                return fresh

    def _until_next(self, entry: Entry, schedule: Schedule) -> float | None:
        now = moment(entry.now)
        following = schedule.following(now, self._settings.timezone)
        return None if following is None else (following - now).total_seconds() + BARELY

    def _complain(self, name: str, problem: str) -> None:
        """In the log once for each new problem; otherwise a bad entry would fill it."""
        if self._complaints.get(name) != problem:
            self._complaints[name] = problem
            log.error("the entry %r of the crontab makes no jobs: %s", name, problem)
        telemetry.emit(CronFailed(node=self.node, name=name, error=problem))
