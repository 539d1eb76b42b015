"""Make jobs available again, whatever became of them."""

from typing import Any

from sqlalchemy import ColumnElement, Executable, Select, case, func, literal_column, null, select, update

from sqla_oban.queries.expressions import (
    CANCEL_REQUESTED,
    JOBS,
    SIGNAL_WAIT,
    constant,
    in_states,
    literal,
    now,
    rings,
)
from sqla_oban.queries.lock import locked
from sqla_oban.states import RETRYING, JobState

MOST_ATTEMPTS: ColumnElement[int] = literal_column("32767")
"""What the column holds."""


def without_request() -> ColumnElement[Any]:
    """A job's meta without the marks of a cancellation and of a wait; from a number nothing can be taken."""
    is_object = func.jsonb_typeof(JOBS.c.meta) == constant("object")
    unmarked = JOBS.c.meta.op("-")(constant(CANCEL_REQUESTED)).op("-")(constant(SIGNAL_WAIT))
    return case((is_object, unmarked), else_=JOBS.c.meta)


def retry(ids: Select[Any], schema: str | None) -> Executable:
    """Makes `ids` available now, with at least one attempt left, and rings; returns those that it changed."""
    chosen = locked(ids)
    attempt = func.least(JOBS.c.attempt, MOST_ATTEMPTS - literal_column("1")) + literal_column("1")
    retried = (
        update(JOBS)
        .where(JOBS.c.id == chosen.c.id, in_states(*RETRYING))
        .values(
            state=literal(JobState.AVAILABLE),
            max_attempts=func.greatest(JOBS.c.max_attempts, attempt),
            scheduled_at=now(),
            completed_at=null(),
            cancelled_at=null(),
            discarded_at=null(),
            meta=without_request(),
        )
        .returning(JOBS.c.id, JOBS.c.queue, JOBS.c.state)
        .cte("retried")
    )
    return select(retried.c.id, rings(retried, schema))
