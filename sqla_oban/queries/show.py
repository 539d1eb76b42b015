"""Show a job, whatever is in it, and what became of those of the same worker."""

from typing import Any, Final

from sqlalchemy import Select, Text, bindparam, cast, func, literal, select

from sqla_oban.queries.browse import MOMENTS, WINDOW, epoch
from sqla_oban.queries.expressions import CRONS, JOBS, constant, is_cancel_requested, now

MOST_TEXT: Final = 100_000
"""Characters of a job's arguments, meta or errors that are shown."""

RUNS: Final = 50
"""Newest jobs of a worker or of an entry of the crontab that are shown beside it."""


def show() -> Select[Any]:
    """The job `id`; JSON as text, which Python may not be able to read, and cut off where it is too long."""
    documents = [
        part
        for name in ("args", "meta", "errors")
        for text in [cast(JOBS.c[name] if name != "errors" else func.to_jsonb(JOBS.c.errors), Text)]
        for part in (func.left(text, MOST_TEXT).label(name), func.length(text).label(f"{name}_length"))
    ]
    return select(
        *(JOBS.c[name] for name in ("id", "queue", "worker", "attempt", "max_attempts", "priority", "tags")),
        cast(JOBS.c.state, Text).label("state"),
        JOBS.c.attempted_by,
        JOBS.c.unique_key,
        is_cancel_requested().label("cancel_requested"),
        *documents,
        *(epoch(JOBS.c[moment]).label(moment) for moment in MOMENTS),
        epoch(now()).label("now"),
    ).where(JOBS.c.id == bindparam("id"))


def runs() -> Select[Any]:
    """The newest jobs of `worker` that have ended, among the newest of all, the newest first."""
    newest = (
        select(*(JOBS.c[name] for name in ("id", "worker", "state", *MOMENTS)))
        .order_by(JOBS.c.id.desc())
        .limit(WINDOW)
        .subquery("newest")
    )
    ended = func.coalesce(newest.c.completed_at, newest.c.discarded_at, newest.c.cancelled_at)
    return (
        select(
            newest.c.id,
            cast(newest.c.state, Text).label("state"),
            epoch(newest.c.attempted_at).label("attempted_at"),
            (epoch(ended) - epoch(newest.c.attempted_at)).label("ran"),
        )
        .where(newest.c.worker == bindparam("worker", type_=Text), ended.isnot(None))
        .order_by(newest.c.id.desc())
        .limit(RUNS)
    )


def crontab() -> Select[Any]:
    """All entries of the crontab, with the moments of their last ticks and of this statement."""
    names = ("name", "expression", "timezone", "missed", "worker", "queue", "declared", "paused")
    return select(
        *(CRONS.c[name] for name in names), epoch(CRONS.c.last_tick).label("last_tick"), epoch(now()).label("now")
    ).order_by(CRONS.c.name)


def cron_runs() -> Select[Any]:
    """The newest jobs that entries of the crontab have made, among the newest of all: id, state and entry."""
    newest = select(JOBS.c.id, JOBS.c.state, JOBS.c.meta).order_by(JOBS.c.id.desc()).limit(WINDOW).subquery("newest")
    name = newest.c.meta.op("->>", return_type=Text())(constant("cron_name"))
    place = func.row_number().over(partition_by=name, order_by=newest.c.id.desc()).label("place")
    rows = (
        select(newest.c.id, cast(newest.c.state, Text).label("state"), name.label("name"), place)
        .where(name.isnot(None))
        .subquery("rows")
    )
    return select(rows.c.id, rows.c.state, rows.c.name).where(rows.c.place <= literal(RUNS)).order_by(rows.c.id)


SHOW, RUNS_OF_WORKER, CRONTAB, CRON_RUNS = show(), runs(), crontab(), cron_runs()
