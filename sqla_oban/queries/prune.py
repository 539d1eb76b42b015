"""Delete jobs that ended long ago."""

from sqlalchemy import BigInteger, Executable, Float, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.expressions import JOBS, in_states, seconds, statement_time
from sqla_oban.states import JobState


def prunable(state: JobState) -> Executable:
    """The ids of up to `batch` jobs that have been `state` for longer than `age` seconds, oldest first, but `kept`."""
    ended = JOBS.c[f"{state.value}_at"]
    return (
        select(JOBS.c.id)
        .where(
            in_states(state),
            ended < statement_time() - seconds(bindparam("age", type_=Float(53))),
            JOBS.c.id != func.all(bindparam("kept", type_=ARRAY(BigInteger))),
        )
        .order_by(ended)
        .limit(bindparam("batch", type_=BigInteger))
    )


def prune(state: JobState) -> Executable:
    """Deletes those of `ids` that are still `state`; returns the deleted.

    In batches, so that no lock is held and no WAL burst made for long; locked rows are passed over, so that two
    leaders, or an operator's statement, neither wait nor deadlock.
    """
    old = (
        select(JOBS.c.id)
        .where(in_states(state), JOBS.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))
        .with_for_update(skip_locked=True)
        .cte("old")
        .prefix_with("MATERIALIZED")
    )
    return delete(JOBS).where(JOBS.c.id == old.c.id).returning(JOBS.c.id)
