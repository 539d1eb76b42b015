"""Delete jobs that ended long ago."""

from sqlalchemy import BigInteger, Executable, Float, bindparam, delete, select

from sqla_oban.queries.expressions import JOBS, in_states, seconds, statement_time
from sqla_oban.states import JobState


def prune(state: JobState) -> Executable:
    """Deletes up to `batch` jobs that have been `state` for longer than `age` seconds, oldest first; returns their ids.

    In batches, so that no lock is held and no WAL burst made for long; locked rows are passed over, so that two
    leaders, or an operator's statement, neither wait nor deadlock.
    """
    ended = JOBS.c[f"{state.value}_at"]
    old = (
        select(JOBS.c.id)
        .where(in_states(state), ended < statement_time() - seconds(bindparam("age", type_=Float(53))))
        .order_by(ended)
        .limit(bindparam("batch", type_=BigInteger))
        .with_for_update(skip_locked=True)
        .cte("old")
        .prefix_with("MATERIALIZED")
    )
    return delete(JOBS).where(JOBS.c.id == old.c.id).returning(JOBS.c.id)
