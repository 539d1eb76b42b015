"""Make due jobs available, and see what else waits."""

from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Executable,
    Float,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    cast,
    exists,
    extract,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, array

from sqla_oban.queries.expressions import (
    CANCEL_REQUESTED,
    JOBS,
    constant,
    holder,
    in_states,
    is_cancel_requested,
    literal,
    ring,
    seconds,
    statement_time,
)
from sqla_oban.states import WAITING, JobState


class Staged(NamedTuple):
    """What one look at the table found.

    Args:
        queues: whose due jobs were made available.
        jobs: how many.
        waiting: those of the sleeping queues that have jobs available: their wake-up was lost.
        doomed: id and attempt of jobs that run on the producers asked for and are to be cancelled.
        next_due: seconds until the next job is due, if within the horizon.
    """

    queues: list[str]
    jobs: int
    waiting: list[str]
    doomed: list[list[int]]
    next_due: float | None


def stage(schema: str | None) -> Executable:
    """Makes up to `limit` due jobs available and rings for their queues.

    It looks at the queues `asleep` and for cancelled jobs of `producers` besides: one statement for four questions,
    because an idle node asks them every second. It takes the earliest jobs first, leaves those alone that are put
    `aside`, and passes over those that are locked, so that any number of nodes may do it at once.
    """
    due = _due().limit(bindparam("limit", type_=BigInteger)).cte("due").prefix_with("MATERIALIZED")
    staged = (
        update(JOBS)
        .where(JOBS.c.id == due.c.id)
        .values(state=literal(JobState.AVAILABLE))
        .returning(JOBS.c.queue)
        .cte("staged")
    )
    rung = (
        select(staged.c.queue, func.count().label("jobs"), ring(staged.c.queue, schema).label("rung"))
        .group_by(staged.c.queue)
        .cte("rung")
        .prefix_with("MATERIALIZED")
    )
    return select(
        select(func.coalesce(func.array_agg(rung.c.queue), NONE)).scalar_subquery().label("queues"),
        select(cast(func.coalesce(func.sum(rung.c.jobs), 0), BigInteger)).scalar_subquery().label("jobs"),
        _waiting().label("waiting"),
        _doomed().label("doomed"),
        _next_due().label("next_due"),
    )


def first_due() -> Executable:
    """The job that the next `stage` would begin with."""
    return _due().limit(literal_column("1"))


def _due() -> Select[Any]:
    return (
        select(JOBS.c.id)
        .where(
            in_states(*WAITING),
            JOBS.c.scheduled_at <= statement_time(),
            JOBS.c.id != func.all(bindparam("aside", type_=ARRAY(BigInteger))),
        )
        .order_by(JOBS.c.scheduled_at, JOBS.c.id)
        .with_for_update(skip_locked=True)
    )


def _waiting() -> ScalarSelect[Any]:
    asleep = func.unnest(bindparam("asleep", type_=ARRAY(Text))).column_valued("asleep")
    ready, index = (in_states(JobState.AVAILABLE), JOBS.c.queue == asleep), JOBS.c.partition
    found = or_(exists().where(*ready, index.is_(None)), exists().where(*ready, index.is_not(None)))
    return select(func.coalesce(func.array_agg(asleep), NONE)).where(found).scalar_subquery()


def _doomed() -> ScalarSelect[Any]:
    """Found by an index of their own, which holds no others."""
    pair: array[Any] = array((JOBS.c.id, cast(JOBS.c.attempt, BigInteger)), type_=BigInteger)
    return (
        select(func.coalesce(func.array_agg(pair), literal_column("'{}'::bigint[]")))
        .where(
            in_states(JobState.EXECUTING),
            JOBS.c.meta.op("?")(constant(CANCEL_REQUESTED)),
            is_cancel_requested(),
            holder() == func.any(bindparam("producers", type_=ARRAY(Text))),
        )
        .scalar_subquery()
    )


def _next_due() -> ScalarSelect[Any]:
    """Bounded by `horizon`, in seconds: a foreign row may be due at infinity, which cannot be subtracted from."""
    horizon = statement_time() + seconds(bindparam("horizon", type_=Float(53)))
    return (
        select(cast(extract("epoch", func.min(JOBS.c.scheduled_at) - statement_time()), Float(53)))
        .where(in_states(*WAITING), JOBS.c.scheduled_at > statement_time(), JOBS.c.scheduled_at <= horizon)
        .scalar_subquery()
    )


NONE = literal_column("ARRAY[]::text[]", ARRAY(Text))
FIRST_DUE = first_due()
