"""Cancel jobs, those that wait at once and those that run as soon as they can be stopped."""

from typing import Any

from sqlalchemy import CTE, Executable, Select, Text, case, cast, func, select, update
from sqlalchemy.dialects.postgresql import JSONB

from sqla_oban.queries.expressions import (
    CANCEL_REQUESTED,
    JOBS,
    constant,
    execution,
    home_function,
    in_states,
    literal,
    moment,
    now,
    object_or_empty,
)
from sqla_oban.queries.lock import locked
from sqla_oban.states import UNFINISHED, JobState


def cancel(ids: Select[Any], schema: str | None) -> Executable:
    """Ends those of `ids` that wait, marks those that run, and returns both; what has ended stays as it is.

    The mark names the execution, so that it is void for any later one. Whoever writes how that execution ended (the
    acknowledgement, a rescue, a release) turns it into `cancelled`: so a cancellation holds even if the signal is lost,
    the worker does not care, or the node dies. The signal goes out with the commit.
    """
    executing = JOBS.c.state == literal(JobState.EXECUTING)
    chosen = locked(ids)
    marked = func.jsonb_build_object(constant(CANCEL_REQUESTED), execution(), type_=JSONB)
    noted = func.jsonb_build_object(constant("cancel_attempted_at"), moment(), type_=JSONB)
    cancelled = (
        update(JOBS)
        .where(JOBS.c.id == chosen.c.id, in_states(*UNFINISHED))
        .values(
            state=case((executing, literal(JobState.EXECUTING)), else_=literal(JobState.CANCELLED)),
            cancelled_at=case((executing, JOBS.c.cancelled_at), else_=now()),
            meta=object_or_empty(JOBS.c.meta).op("||")(case((executing, marked), else_=noted)),
        )
        .returning(JOBS.c.id, JOBS.c.state, JOBS.c.attempt)
        .cte("cancelled")
    )
    signals = _signals(cancelled, schema)
    return select(cancelled.c.id, select(func.count(signals.c.sent)).scalar_subquery())


def _signals(cancelled: CTE, schema: str | None) -> CTE:
    """One to every node for each job that runs; the attempt keeps a late one from a job that was retried meanwhile."""
    notice = func.jsonb_build_object(
        *(constant("action"), constant("pkill")),
        *(constant("job_id"), cancelled.c.id),
        *(constant("attempt"), cancelled.c.attempt),
        type_=JSONB,
    )
    return (
        select(cast(home_function(schema, "oban_signal", notice), Text).label("sent"))
        .where(cancelled.c.state == literal(JobState.EXECUTING))
        .cte("signals")
        .prefix_with("MATERIALIZED")
    )
