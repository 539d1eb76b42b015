"""The crontab: what comes when."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from sqla_oban.control.watch.details import Run, runs_of_crons
from sqla_oban.errors import InvalidSchedule
from sqla_oban.queries.show import CRONTAB
from sqla_oban.workers.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class CronEntry:
    """An entry of the crontab.

    Attributes:
        words: its expression in English; as it is where it cannot be understood.
        following: its next ticks, in seconds since 1970; none while it is paused.
        runs: its newest jobs, oldest first, as far as they are among the newest of all.
        wrong: why it makes no jobs, where it cannot be understood.
    """

    name: str
    expression: str
    timezone: str
    words: str
    missed: str
    worker: str
    queue: str | None
    declared: bool
    paused: bool
    last_tick: float
    now: float
    following: tuple[float, ...]
    runs: tuple[Run, ...]
    wrong: str | None


def crontab(session: Session, *, timezone: str, ticks: int = 3) -> list[CronEntry]:
    """All entries by name, each with its next `ticks`; `timezone` is that of entries that name none."""
    runs = runs_of_crons(session)
    return [_entry(row, runs.get(row.name, []), timezone, ticks) for row in session.execute(CRONTAB)]


def _entry(row: Row[Any], runs: list[Run], timezone: str, ticks: int) -> CronEntry:
    words, wrong = row.expression, None
    following: tuple[float, ...] = ()
    try:
        schedule = Schedule(row.expression, row.timezone, row.missed)
        words = schedule.words
        following = () if row.paused else _ticks(schedule, row.now, timezone, ticks)
    except InvalidSchedule as error:  # anybody may write a row
        wrong = str(error)
    return CronEntry(
        name=row.name,
        expression=row.expression,
        timezone=row.timezone or timezone,
        words=words,
        missed=row.missed,
        worker=row.worker,
        queue=row.queue,
        declared=row.declared,
        paused=row.paused,
        last_tick=row.last_tick,
        now=row.now,
        following=following,
        runs=tuple(runs),
        wrong=wrong,
    )


def _ticks(schedule: Schedule, now: float, timezone: str, most: int) -> tuple[float, ...]:
    found: list[float] = []
    tick = schedule.following(datetime.fromtimestamp(now, UTC), timezone)
    while tick is not None and len(found) < most:
        found.append(tick.timestamp())
        tick = schedule.following(tick, timezone)
    return tuple(found)
