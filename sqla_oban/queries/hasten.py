"""Make the next of some jobs available, although its time may not have come."""

from typing import Any

from sqlalchemy import ColumnElement, DateTime, Executable, Text, and_, cast, literal_column, null, or_, select, update

from sqla_oban.queries.expressions import JOBS, in_states, literal
from sqla_oban.states import WAITING, JobState


def hasten(which: ColumnElement[bool]) -> Executable:
    """Makes the first of the jobs `which` available, in the order of the claim, and locks it.

    Returns its queue and the parts of its key, so that a claim from right before that key takes this job and no other.
    """
    first = (
        select(JOBS.c.id)
        .where(which)
        .order_by(JOBS.c.priority, JOBS.c.scheduled_at, JOBS.c.id)
        .limit(literal_column("1"))
        .with_for_update(skip_locked=True)
        .cte("first")
        .prefix_with("MATERIALIZED")
    )
    return (
        update(JOBS)
        .where(JOBS.c.id == first.c.id)
        .values(state=literal(JobState.AVAILABLE), partition=null())
        .returning(JOBS.c.id, JOBS.c.queue, JOBS.c.priority, cast(JOBS.c.scheduled_at, Text).label("scheduled_at"))
    )


def is_due(by: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a job is available, or waits for a moment that will have come `by` then."""
    return or_(in_states(JobState.AVAILABLE), and_(in_states(*WAITING), JOBS.c.scheduled_at <= by))


EVER: ColumnElement[Any] = literal_column("timestamp 'infinity'", DateTime())
"""Later than any moment."""
