"""Hand back jobs that a producer holds without running them."""

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.expressions import JOBS, holder, in_states, is_cancel_requested, literal, now, rings
from sqla_oban.states import JobState


def release(schema: str | None) -> Executable:
    """Makes the jobs of `producer` available again, except `keep`, and refunds their attempt; returns their ids.

    Of those, if `only` is not NULL, the ones in it.

    Such jobs exist when a node stops before they ended, when it stopped them because it could not prove that it
    lives, and when the answer to a claim was lost on its way here. One whose cancellation was requested ends here.
    """
    stopped, only = is_cancel_requested(), bindparam("only", type_=ARRAY(BigInteger))
    released = (
        update(JOBS)
        .where(_is_held(), or_(only.is_(None), JOBS.c.id == func.any(only)))
        .values(
            state=case((stopped, literal(JobState.CANCELLED)), else_=literal(JobState.AVAILABLE)),
            cancelled_at=case((stopped, now()), else_=JOBS.c.cancelled_at),
            attempt=func.greatest(JOBS.c.attempt - literal_column("1"), literal_column("0")),
        )
        .returning(JOBS.c.id, JOBS.c.queue, JOBS.c.state)
        .cte("released")
    )
    return select(released.c.id, rings(released, schema))


def held() -> Executable:
    """The ids of those jobs."""
    return select(JOBS.c.id).where(_is_held()).order_by(JOBS.c.id)


def _is_held() -> ColumnElement[bool]:
    return and_(
        in_states(JobState.EXECUTING),
        holder() == bindparam("producer", type_=Text),
        JOBS.c.id != func.all(bindparam("keep", type_=ARRAY(BigInteger))),
    )


HELD = held()
