"""What is asked of batches; see `migrations/batches.py`."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal_column,
    not_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.models.batch import Batch
from sqla_oban.queries.expressions import JOBS, home_function, literal, now, seconds
from sqla_oban.states import UNFINISHED


class Mended(NamedTuple):
    """How many batches have come to something, and the last that was looked at; None behind the last of all."""

    batches: int
    last: UUID | None


BATCHES: Any = Batch.__table__
LIVE = JOBS.alias("live")


def counts() -> Executable:
    """How many jobs of the batch `of_batch` are in which state."""
    return (
        select(cast(JOBS.c.state, Text), func.count())
        .where(JOBS.c.batch_id == bindparam("of_batch", type_=Uuid()))
        .group_by(JOBS.c.state)
    )


def batch_of() -> Select[Any]:
    """The id of the batch that the job `of_job` is of, or is a callback of."""
    called = JOBS.c.meta.op("#>>")(literal_column("'{batch,id}'", ARRAY(Text)))
    return select(func.coalesce(JOBS.c.batch_id, cast(called, Uuid()))).where(
        JOBS.c.id == bindparam("of_job", type_=BigInteger)
    )


def mend_batches(schema: str | None) -> Executable:
    """Settles up to `batch` of those that have not come to their end; returns what that came to.

    It begins behind the id `after`, and returns the last one it has looked at, so that all of them get their turn.
    """
    alive = (
        select(BATCHES.c.id)
        .where(BATCHES.c.exhausted_at.is_(None), BATCHES.c.id > bindparam("after", type_=Uuid()))
        .order_by(BATCHES.c.id)
        .limit(bindparam("batch", type_=BigInteger))
        .cte("alive")
        .prefix_with("MATERIALIZED")
    )
    nothing = literal_column("'{}'::text[]", ARRAY(Text))
    settled = (
        select(alive.c.id, home_function(schema, "oban_batch_settle", alive.c.id, nothing).label("done"))
        .cte("settled")
        .prefix_with("MATERIALIZED")
    )
    last = select(settled.c.id).order_by(settled.c.id.desc()).limit(literal_column("1")).scalar_subquery()
    return select(func.count().filter(settled.c.done), last).select_from(settled)


def of_live_batch() -> ColumnElement[bool]:
    """Whether a job is of a batch of which another has not ended."""
    return JOBS.c.batch_id.is_not(None) & exists().where(
        LIVE.c.batch_id == JOBS.c.batch_id,
        LIVE.c.batch_id.is_not(None),
        LIVE.c.state.in_([literal(state) for state in UNFINISHED]),
    )


def forget_batches() -> Executable:
    """Deletes up to `batch` of those that came to their end more than `age` seconds ago and have no job left."""
    old = (
        select(BATCHES.c.id)
        .where(
            BATCHES.c.exhausted_at < now() - seconds(bindparam("age", type_=Float(53))),
            not_(exists().where(JOBS.c.batch_id == BATCHES.c.id)),
        )
        .limit(bindparam("batch", type_=BigInteger))
        .with_for_update(skip_locked=True)
        .cte("old")
        .prefix_with("MATERIALIZED")
    )
    return delete(BATCHES).where(BATCHES.c.id == old.c.id).returning(BATCHES.c.id)


COUNTS, BATCH_OF = counts(), batch_of()
