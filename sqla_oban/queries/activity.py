"""What became of jobs in the last while, and how many waited meanwhile: read off the jobs that are stored.

No more than `MOST` jobs are read for each way to end: a busy queue is told by its newest ones, and the answer says when
the oldest of these ended. What the pruner has deleted is no part of it.
"""

from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
    tuple_,
    union_all,
)

from sqla_oban.queries.available import LANES
from sqla_oban.queries.browse import epoch
from sqla_oban.queries.expressions import JOBS, constant, in_states, now, seconds, statement_time
from sqla_oban.states import FINAL, JobState

MOST: Final = 20_000
"""Jobs of one kind that are read."""

FAILURES: Final = 500
"""Newest jobs of each kind of failure that are gathered."""

PERCENTILES: Final = (0.5, 0.95, 0.99)

WIDTH = bindparam("width", type_=Float(53))
"""Seconds of a bucket; buckets are numbered from 1970 on."""
SPAN = bindparam("span", type_=Float(53))
"""Seconds that are looked back."""


def finished() -> Select[Any]:
    """By outcome and bucket, and by outcome alone: how many, the oldest end, and percentiles of waiting and running."""
    ended = _ended()
    rows = select(ended, func.floor(ended.c.ended / WIDTH).label("bucket")).subquery("rows")
    percentiles: ColumnElement[Any] = literal_column(f"ARRAY{list(PERCENTILES)}::float8[]")
    return select(
        rows.c.outcome,
        rows.c.bucket,
        func.count().label("jobs"),
        func.min(rows.c.ended).label("oldest"),
        func.percentile_cont(percentiles).within_group(rows.c.waited).label("waited"),
        func.percentile_cont(percentiles).within_group(rows.c.ran).label("ran"),
    ).group_by(func.grouping_sets(tuple_(rows.c.outcome, rows.c.bucket), tuple_(rows.c.outcome)))


def _ended() -> CTE:
    """The newest jobs of each way to end, and those that failed and will be tried again, by their last attempt."""
    return union_all(*(_outcome(state) for state in FINAL), _failing()).cte("ended")


def _outcome(state: JobState) -> Select[Any]:
    moment = JOBS.c[f"{state}_at"]
    newest = (
        select(JOBS.c.scheduled_at, JOBS.c.inserted_at, JOBS.c.attempted_at, moment.label("ended_at"))
        .where(in_states(state), moment > statement_time() - seconds(SPAN))
        .order_by(moment.desc())
        .limit(MOST)
        .subquery(f"newest_{state}")
    )
    return select(constant(state).label("outcome"), *_spans(newest.c))


def _failing() -> Select[Any]:
    newest = (
        select(JOBS.c.scheduled_at, JOBS.c.inserted_at, JOBS.c.attempted_at, JOBS.c.attempted_at.label("ended_at"))
        .where(in_states(JobState.RETRYABLE))
        .order_by(JOBS.c.scheduled_at.desc())
        .limit(MOST)
        .subquery("newest_retryable")
    )
    recent = newest.c.attempted_at > statement_time() - seconds(SPAN)
    return select(constant(JobState.RETRYABLE).label("outcome"), *_spans(newest.c)).where(recent)


def _spans(jobs: Any) -> list[ColumnElement[Any]]:
    """When it ended, and how many seconds it had waited before it ran, and ran."""
    due = func.greatest(jobs.scheduled_at, jobs.inserted_at)
    return [
        epoch(jobs.ended_at).label("ended"),
        func.greatest(epoch(jobs.attempted_at) - epoch(due), 0.0).label("waited"),
        func.greatest(epoch(jobs.ended_at) - epoch(jobs.attempted_at), 0.0).label("ran"),
    ]


def backlog() -> Select[Any]:
    """In each bucket, how many jobs began to wait (`came`) and how many ceased to (`went`).

    A job waits from when it was due to when its last attempt began. Whoever began before the time that is looked at is
    counted at its beginning. `more` says that too many jobs wait to be read, so that it is no true picture.
    """
    waits = union_all(_waited(JobState.COMPLETED), _waited(JobState.EXECUTING), _waiting()).cte("waits")
    first = func.floor((epoch(now()) - SPAN) / WIDTH)
    came = select(
        func.greatest(func.floor(waits.c.since / WIDTH), first).label("bucket"), literal_column("1").label("n")
    )
    went = select(func.floor(waits.c.until / WIDTH), literal_column("-1")).where(waits.c.until.isnot(None))
    changes = union_all(came, went).subquery("changes")
    many = select(func.count()).select_from(waits).where(waits.c.until.is_(None)).scalar_subquery()
    return (
        select(
            cast(changes.c.bucket, Float).label("bucket"),
            func.sum(changes.c.n).label("change"),
            (many > literal(MOST, Integer)).label("more"),
        )
        .group_by(changes.c.bucket)
        .order_by(changes.c.bucket)
    )


def _waited(state: JobState) -> Select[Any]:
    moment = JOBS.c.completed_at if state is JobState.COMPLETED else JOBS.c.attempted_at
    rows = (
        select(JOBS.c.scheduled_at, JOBS.c.inserted_at, JOBS.c.attempted_at)
        .where(in_states(state), moment > statement_time() - seconds(SPAN))
        .order_by(moment.desc())
        .limit(MOST)
        .subquery(f"waited_{state}")
    )
    since = epoch(func.greatest(rows.c.scheduled_at, rows.c.inserted_at))
    return select(since.label("since"), epoch(rows.c.attempted_at).label("until"))


def _waiting() -> Select[Any]:
    rows = union_all(
        *(select(JOBS.c.scheduled_at, JOBS.c.inserted_at).where(lane).limit(MOST + 1) for lane in LANES)
    ).subquery("waiting")
    return select(epoch(func.greatest(rows.c.scheduled_at, rows.c.inserted_at)), cast(null(), Float(53)))


def failures() -> Select[Any]:
    """The newest jobs that failed, gathered by worker and by the first line of what was wrong."""
    newest = union_all(
        *(
            select(JOBS.c.id, JOBS.c.worker, JOBS.c.state, JOBS.c.errors, JOBS.c.attempted_at)
            .where(in_states(state))
            .order_by(order.desc())
            .limit(FAILURES)
            .subquery(f"failed_{state}")
            .select()
            for state, order in ((JobState.DISCARDED, JOBS.c.discarded_at), (JobState.RETRYABLE, JOBS.c.scheduled_at))
        )
    ).subquery("newest")
    array = func.jsonb_typeof(func.to_jsonb(newest.c.errors)) == constant("array")
    told = newest.c.errors.op("->")(-1).op("->>", return_type=Text())(constant("error"))
    line = func.left(func.split_part(func.coalesce(told, constant("")), literal_column(r"E'\n'", Text()), 1), 200)
    rows = select(newest, line.label("line")).where(array).subquery("rows")
    return (
        select(
            rows.c.worker,
            rows.c.line,
            func.count().label("jobs"),
            func.count()
            .filter(rows.c.state == cast(constant(JobState.DISCARDED), JOBS.c.state.type))
            .label("discarded"),
            func.max(rows.c.id).label("newest"),
            epoch(func.max(rows.c.attempted_at)).label("at"),
        )
        .group_by(rows.c.worker, rows.c.line)
        .order_by(literal_column("at DESC NULLS LAST"))
        .limit(12)
    )


FINISHED, BACKLOG, FAILING, CLOCK = finished(), backlog(), failures(), select(epoch(now()))
