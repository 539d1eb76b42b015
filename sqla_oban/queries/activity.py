"""What became of jobs in the last while, and how many waited meanwhile: read off the jobs that are stored.

No more than a number of jobs is read for each question: a busy queue is told by its newest ones, and the answer says
when the oldest of these ended. What the pruner has deleted is no part of it.
"""

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Select,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    tuple_,
    union_all,
)

from sqla_oban.queries.available import LANES
from sqla_oban.queries.browse import epoch, last_error, lists_errors
from sqla_oban.queries.expressions import JOBS, constant, in_states, now, seconds, statement_time
from sqla_oban.queries.headline import headline_of
from sqla_oban.states import FINAL, JobState

MOST: Final = 20_000
"""Jobs of one outcome that are counted, which an index tells alone."""

READ: Final = 5_000
"""Jobs of one kind for which the table itself is read: those that are to be retried, that wait, or have waited."""

SAMPLE: Final = 100
"""Newest completed jobs of each bucket of which the percentiles are."""

FAILURES: Final = 500
"""Newest jobs of each kind of failure that are gathered."""

PERCENTILES: Final = (0.5, 0.95, 0.99)

WIDTH = bindparam("width", type_=Float(53))
"""Seconds of a bucket; buckets are numbered from 1970 on."""
SPAN = bindparam("span", type_=Float(53))
"""Seconds that are looked back."""


def finished() -> Select[Any]:
    """By outcome and bucket, and by outcome alone: how many, the oldest end, and whether there are more than read."""
    ended = union_all(*(_outcome(state) for state in FINAL), _failing()).subquery("ended")
    bucket = func.floor(ended.c.ended / WIDTH).label("bucket")
    rows = select(ended.c.outcome, ended.c.ended, ended.c.most, bucket).subquery("rows")
    return select(
        rows.c.outcome,
        rows.c.bucket,
        func.count().label("jobs"),
        func.min(rows.c.ended).label("oldest"),
        (func.count() >= func.min(rows.c.most)).label("more"),
    ).group_by(func.grouping_sets(tuple_(rows.c.outcome, rows.c.bucket), tuple_(rows.c.outcome)))


def _outcome(state: JobState) -> Select[Any]:
    """The newest jobs that ended so, by the index of when they did."""
    moment = JOBS.c[f"{state}_at"]
    newest = (
        select(moment.label("ended_at"))
        .where(in_states(state), moment > statement_time() - seconds(SPAN))
        .order_by(moment.desc())
        .limit(literal_column(str(MOST)))
        .subquery(f"newest_{state}")
    )
    return select(
        constant(state).label("outcome"),
        epoch(newest.c.ended_at).label("ended"),
        literal_column(str(MOST), Integer).label("most"),
    )


def _failing() -> Select[Any]:
    """Those that failed and will be tried again, by their last attempt."""
    newest = (
        select(JOBS.c.attempted_at)
        .where(in_states(JobState.RETRYABLE))
        .order_by(JOBS.c.scheduled_at.desc())
        .limit(literal_column(str(READ)))
        .subquery("newest_retryable")
    )
    recent = newest.c.attempted_at > statement_time() - seconds(SPAN)
    most = literal_column(str(READ), Integer)
    return select(constant(JobState.RETRYABLE), epoch(newest.c.attempted_at), most).where(recent)


def taken() -> Select[Any]:
    """By bucket, and over all of them: percentiles of how many seconds completed jobs waited and ran.

    Of a sample of each bucket, so that they are known of all however many jobs there are. Over all of them, they are of
    the samples together: a bucket with many jobs counts for no more than one with a hundred.
    """
    first, last = (
        cast(func.floor(moment / WIDTH), Integer)
        for moment in (epoch(statement_time()) - SPAN, epoch(statement_time()))
    )
    buckets = func.generate_series(first, last).table_valued(column("bucket")).render_derived(name="buckets")
    moment = JOBS.c.completed_at
    sample = (
        select(JOBS.c.scheduled_at, JOBS.c.inserted_at, JOBS.c.attempted_at, moment)
        .where(
            in_states(JobState.COMPLETED),
            moment >= _moment(buckets.c.bucket * WIDTH),
            moment < _moment((buckets.c.bucket + literal_column("1")) * WIDTH),
            moment > statement_time() - seconds(SPAN),
        )
        .order_by(moment.desc())
        .limit(literal_column(str(SAMPLE)))
        .lateral("sample")
    )
    due = func.greatest(sample.c.scheduled_at, sample.c.inserted_at)
    began = epoch(sample.c.attempted_at)
    rows = (
        select(
            buckets.c.bucket,
            func.greatest(began - epoch(due), 0.0).label("waited"),
            func.greatest(epoch(sample.c.completed_at) - began, 0.0).label("ran"),
        )
        .select_from(buckets.join(sample, true()))
        .subquery("rows")
    )
    percentiles: ColumnElement[Any] = literal_column(f"ARRAY{list(PERCENTILES)}::float8[]")
    return select(
        rows.c.bucket,
        func.percentile_cont(percentiles).within_group(rows.c.waited).label("waited"),
        func.percentile_cont(percentiles).within_group(rows.c.ran).label("ran"),
    ).group_by(func.grouping_sets(tuple_(rows.c.bucket), tuple_()))


def _moment(at: ColumnElement[Any]) -> ColumnElement[Any]:
    """Seconds since 1970 as the tables hold moments: stable, so that an index may be asked."""
    return func.timezone(constant("UTC"), func.to_timestamp(at))


def backlog() -> Select[Any]:
    """In each bucket, how many jobs began to wait less how many ceased to.

    A job waits from when it was due to when its last attempt began. Whoever began before the time that is looked at is
    counted at its beginning. `more` says that too many jobs wait to be read, so that it is no true picture; before
    `oldest`, when the oldest of those ended that were read, if these are not all, it is none either.
    """
    waits = union_all(_waited(JobState.COMPLETED), _waited(JobState.EXECUTING), _waiting()).cte("waits")
    first = func.floor((epoch(now()) - SPAN) / WIDTH)
    came = select(
        func.greatest(func.floor(waits.c.since / WIDTH), first).label("bucket"), literal_column("1").label("n")
    )
    went = select(func.floor(waits.c.until / WIDTH), literal_column("-1")).where(waits.c.until.isnot(None))
    changes = union_all(came, went).subquery("changes")
    waiting, ended = waits.c.until.is_(None), waits.c.ended.isnot(None)
    read = (
        select(
            (func.count().filter(waiting) > literal(READ, Integer)).label("more"),
            case((func.count().filter(ended) >= literal(READ, Integer), func.min(waits.c.ended))).label("oldest"),
        )
        .select_from(waits)
        .subquery("read")
    )
    return (
        select(
            cast(changes.c.bucket, Float).label("bucket"),
            func.sum(changes.c.n).label("change"),
            *(func.bool_or(read.c.more).label("more"), func.min(read.c.oldest).label("oldest")),
        )
        .select_from(changes.join(read, true()))
        .group_by(changes.c.bucket)
        .order_by(changes.c.bucket)
    )


def _waited(state: JobState) -> Select[Any]:
    moment = JOBS.c.completed_at if state is JobState.COMPLETED else JOBS.c.attempted_at
    rows = (
        select(JOBS.c.scheduled_at, JOBS.c.inserted_at, JOBS.c.attempted_at, moment.label("moment"))
        .where(in_states(state), moment > statement_time() - seconds(SPAN))
        .order_by(moment.desc())
        .limit(literal_column(str(READ)))
        .subquery(f"waited_{state}")
    )
    since = epoch(func.greatest(rows.c.scheduled_at, rows.c.inserted_at))
    ended = epoch(rows.c.moment) if state is JobState.COMPLETED else cast(null(), Float(53))
    return select(since.label("since"), epoch(rows.c.attempted_at).label("until"), ended.label("ended"))


def _waiting() -> Select[Any]:
    most: ColumnElement[int] = literal_column(str(READ + 1))
    rows = union_all(
        *(select(JOBS.c.scheduled_at, JOBS.c.inserted_at).where(lane).limit(most) for lane in LANES)
    ).subquery("waiting")
    unknown = cast(null(), Float(53))
    return select(epoch(func.greatest(rows.c.scheduled_at, rows.c.inserted_at)), unknown, unknown)


def failures() -> Select[Any]:
    """The newest jobs that failed, gathered by worker and by what was wrong, in one line."""
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
    read_once: ColumnElement[int] = literal_column(
        "0"
    )  # an offset: the text would be unpacked anew for each step of its expression
    told = select(newest, last_error(newest).label("told")).where(lists_errors(newest)).offset(read_once)
    failed = told.subquery("told")
    line = func.coalesce(headline_of(failed.c.told), constant("")).label("line")
    rows = select(failed, line).subquery("rows")
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


FINISHED, TAKEN, BACKLOG, FAILING = finished(), taken(), backlog(), failures()
CLOCK = select(epoch(now()))
