"""Change what jobs hold that do not run."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Executable, bindparam, case, func, select
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.expressions import JOBS, in_states, literal, now, rings_with_waiting
from sqla_oban.queries.signal import kept
from sqla_oban.states import JobState


def update(values: Mapping[str, Any], schema: str | None) -> Executable:
    """Writes `values` into the jobs `ids`, which the transaction has locked; rings where they are due, or soon are.

    A job that waits for its time, or could be claimed, does so by its new time; one in another state keeps that. New
    meta leaves alone which signals the job was sent and waits for.
    """
    written = {**values, "meta": kept(values["meta"])} if "meta" in values else values
    changed = change(JOBS).where(JOBS.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger)))).values(**written)
    if (due := values.get("scheduled_at")) is not None:
        movable = in_states(JobState.AVAILABLE, JobState.SCHEDULED)
        target = case((due <= now(), literal(JobState.AVAILABLE)), else_=literal(JobState.SCHEDULED))
        changed = changed.values(state=case((movable, target), else_=JOBS.c.state))
    rows = changed.returning(JOBS.c.id, JOBS.c.queue, JOBS.c.state, JOBS.c.scheduled_at).cte("changed")
    return select(rows.c.id, rings_with_waiting(rows, schema))
