"""Take jobs from producers that are gone."""

from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.expressions import (
    JOBS,
    PRODUCERS,
    constant,
    counted,
    holder,
    in_states,
    is_cancel_requested,
    is_executing,
    literal,
    now,
    rings,
    seconds,
    with_error,
)
from sqla_oban.queries.producers import OURS, expired
from sqla_oban.states import JobState

NODE = literal_column("oban_jobs.attempted_by[1]", Text())


class Rescued(NamedTuple):
    """A job that was taken from a producer that is gone; `rung` makes the statement ring, and is of no other use."""

    id: int
    queue: str
    state: str
    rung: int


def rescue(schema: str | None) -> Executable:
    """Puts up to `batch` orphans back into their queues and rings; discards those without an attempt left.

    Those whose cancellation was requested end cancelled.

    The attempt counts: a job that kills its process must not do so for ever. An orphan is a job that is executing and

    * whose producer's last beat holds no longer, or
    * whose producer is one of ours and has no row at all, while some row is older than `grace`: the table is UNLOGGED,
      a crash of PostgreSQL empties it, and until `grace` later live producers may still be about to register again;
    * or that has been executing for longer than `rescue_after`, if that is given.

    Locked rows are passed over: whoever has them is about to end them. Those put `aside` are left alone.
    """
    orphans = _orphans()
    stopped, exhausted = is_cancel_requested(), JOBS.c.attempt >= JOBS.c.max_attempts
    rescued = (
        update(JOBS)
        .where(JOBS.c.id == orphans.c.id)
        .values(
            state=case(
                (stopped, literal(JobState.CANCELLED)),
                (exhausted, literal(JobState.DISCARDED)),
                else_=literal(JobState.AVAILABLE),
            ),
            cancelled_at=case((stopped, now()), else_=JOBS.c.cancelled_at),
            discarded_at=case(
                (and_(exhausted, not_(func.coalesce(stopped, false()))), now()), else_=JOBS.c.discarded_at
            ),
            meta=counted("rescued"),
            errors=with_error(
                func.concat(constant("rescued: node "), NODE, constant(" disappeared while it ran the job"))
            ),
        )
        .returning(JOBS.c.id, JOBS.c.queue, JOBS.c.state)
        .cte("rescued")
    )
    return select(rescued.c.id, rescued.c.queue, cast(rescued.c.state, Text), rings(rescued, schema))


def first_suspect() -> Executable:
    """The job that the next `rescue` would begin with."""
    return _suspects().limit(literal_column("1"))


def _orphans() -> CTE:
    """Suspected first and locked then, by the same `attempted_at`.

    A job that was claimed anew in between is looked at in its new version, and beside that PostgreSQL would still see
    its old producer.
    """
    suspects = _suspects().limit(bindparam("batch", type_=BigInteger)).cte("suspects").prefix_with("MATERIALIZED")
    return (
        select(JOBS.c.id)
        .where(
            JOBS.c.id == suspects.c.id,
            JOBS.c.attempted_at.is_not_distinct_from(suspects.c.attempted_at),
            is_executing(),
        )
        .with_for_update(of=JOBS, skip_locked=True)
        .cte("orphans")
        .prefix_with("MATERIALIZED")
    )


def _suspects() -> Select[Any]:
    return (
        select(JOBS.c.id, JOBS.c.attempted_at)
        .select_from(JOBS.outerjoin(PRODUCERS, cast(PRODUCERS.c.uuid, Text) == holder()))
        .where(
            in_states(JobState.EXECUTING),
            or_(expired(), _lost_its_row(), _too_old()),
            JOBS.c.id != func.all(bindparam("aside", type_=ARRAY(BigInteger))),
        )
        .order_by(JOBS.c.attempted_at, JOBS.c.id)
    )


def _lost_its_row() -> ColumnElement[bool]:
    witness = PRODUCERS.alias("witness")
    grace = seconds(bindparam("grace", type_=Float(53)))
    return and_(
        PRODUCERS.c.uuid.is_(None),
        holder().like(constant(OURS)),
        exists().where(witness.c.started_at < now() - grace),
    )


def _too_old() -> ColumnElement[bool]:
    return JOBS.c.attempted_at < now() - seconds(bindparam("rescue_after", type_=Float(53)))


FIRST_SUSPECT = first_suspect()
