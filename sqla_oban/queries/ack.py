"""Write how jobs ended."""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Float,
    SmallInteger,
    TableValuedAlias,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.dml import ReturningUpdate

from sqla_oban.models.job import JOB_STATE
from sqla_oban.queries.expressions import (
    CANCEL_REQUESTED,
    JOBS,
    constant,
    counted,
    is_cancel_requested,
    is_executing,
    literal,
    now,
    object_or_empty,
    parallel,
    seconds,
    with_error,
)
from sqla_oban.states import JobState


class Ack(NamedTuple):
    """How one execution of a job ended.

    Args:
        id, attempted_at: which job, and which execution of it.
        state: what the job becomes.
        delay: seconds until it is due again; for retryable and scheduled.
        error: text to append to its errors.
        refund: whether the attempt is given back.
        meta: a JSON object to put over the job's meta, as text.
    """

    id: int
    attempted_at: datetime
    state: JobState
    delay: float | None = None
    error: str | None = None
    refund: bool = False
    meta: str | None = None

    @property
    def just_completes(self) -> bool:
        """Whether there is nothing to be said but that the job is completed: `COMPLETE` can write it."""
        return self[2:] == NOTHING_ELSE


ALWAYS: Final[ColumnElement[bool]] = true()
NOTHING_ELSE = (JobState.COMPLETED, None, None, False, None)


ATTEMPT: Final = {"id": (BigInteger, "ids"), "attempted_at": (DateTime, "attempted_ats")}
"""Which execution of which job, as columns of `parallel`."""


def ack(*, skip_locked: bool = True) -> Executable:
    """Writes any number of outcomes, given as parallel arrays; returns the ids that were written.

    Fenced: a row changes only while it is still executing under the same `attempted_at`. An outcome that comes after
    the job was rescued or handed back matches nothing. Each claim sets a new `attempted_at`, so no two executions of
    a job share one.

    A job whose cancellation was requested while it ran ends cancelled, whatever its outcome was.

    Rows that somebody else has locked are passed over, so that one forgotten transaction does not hold up the
    outcomes of a whole node; `STILL_EXECUTING` tells them from those that came late. `SETTLE` waits for them: it is
    part of a worker's own transaction, which has nobody else to hold up.

    What is to run again may do so for a signal, which may have come by now: the triggers are to look.

    Each outcome looks for its own row, in a subquery that the planner cannot join in another way: it believes that
    next to no job executes, and would read the table from end to end for that.
    """
    done = _outcomes()
    state = func.coalesce(done.c.state, constant(JobState.COMPLETED))
    row = (
        select(is_cancel_requested().label("stopped"))
        .where(_is_this_execution(done))
        .with_for_update(of=JOBS, skip_locked=skip_locked)
        .correlate(done)
        .lateral("row")
    )
    held = (
        select(
            done.c.id,
            case((row.c.stopped, constant("cancelled")), else_=state).label("state"),
            case((row.c.stopped, null()), else_=done.c.delay).label("delay"),
            func.coalesce(done.c.refund, literal_column("0")).label("refund"),
            *(done.c.error, done.c.meta),
        )
        .select_from(done.join(row, true()))
        .cte("held")
        .prefix_with("MATERIALIZED")
    )
    meta = case((held.c.state == constant("scheduled"), counted("snoozed")), else_=JOBS.c.meta)
    return (
        update(JOBS)
        .where(JOBS.c.id == held.c.id)
        .values(
            state=cast(held.c.state, JOB_STATE),
            attempt=func.greatest(JOBS.c.attempt - held.c.refund, literal_column("0")),
            scheduled_at=case((held.c.delay.is_(None), JOBS.c.scheduled_at), else_=now() + seconds(held.c.delay)),
            errors=case((held.c.error.is_(None), JOBS.c.errors), else_=with_error(cast(held.c.error, Text))),
            meta=case((held.c.meta.is_(None), meta), else_=object_or_empty(meta).op("||")(cast(held.c.meta, JSONB))),
            featured=case((held.c.state == constant("scheduled"), true()), else_=JOBS.c.featured),
            **{
                f"{ended}_at": case((held.c.state == constant(ended), now()), else_=JOBS.c[f"{ended}_at"])
                for ended in ("completed", "discarded", "cancelled")
            },
        )
        .returning(JOBS.c.id)
    )


def complete(*, alone: bool = False, after: ColumnElement[bool] = ALWAYS) -> ReturningUpdate[Any]:
    """Writes outcomes of which nothing is to be said but that the job is completed, as `ack` would.

    That is what most are, and it takes three quarters of the time. Rows that are locked, or whose cancellation was
    requested, are passed over: they are left to `ack`.

    Args:
        alone: pass over those, too, for whose end another job may wait; to release that takes locks.
        after: what is asked once, before any row is looked at; nothing is written if it is false.
    """
    done = parallel("done", ATTEMPT)
    waited_for = or_(*(JOBS.c[part].is_not(None) for part in ("chain_key", "workflow_id", "batch_id")))
    row = (
        select(JOBS.c.id)
        .where(
            _is_this_execution(done),
            JOBS.c.meta.op("->")(constant(CANCEL_REQUESTED)).is_(None),
            *([not_(waited_for)] if alone else []),
        )
        .with_for_update(of=JOBS, skip_locked=True)
        .correlate(done)
        .lateral("row")
    )
    held = select(row.c.id).select_from(done.join(row, true())).where(after).cte("held").prefix_with("MATERIALIZED")
    return (
        update(JOBS)
        .where(JOBS.c.id == held.c.id)
        .values(state=literal(JobState.COMPLETED), completed_at=now())
        .returning(JOBS.c.id)
    )


def still_executing() -> Executable:
    """Those of the same outcomes, given in the same way, that could still be written."""
    done = _outcomes()
    return select(JOBS.c.id).where(_is_this_execution(done))


def _outcomes() -> TableValuedAlias:
    return parallel(
        "done",
        {
            **ATTEMPT,
            "state": (Text, "states"),
            "delay": (Float(53), "delays"),
            "error": (Text, "errors"),
            "refund": (SmallInteger, "refunds"),
            "meta": (Text, "metas"),
        },
    )


def _is_this_execution(done: TableValuedAlias) -> ColumnElement[bool]:
    return and_(
        JOBS.c.id == done.c.id,
        type_coerce(JOBS.c.attempted_at, DateTime) == done.c.attempted_at,
        is_executing(),
    )


def executions(acks: Sequence[Ack]) -> dict[str, list[Any]]:
    """Which executions `acks` are of, as the arrays of `COMPLETE`.

    Sorted by id, so that two statements that lock the same rows do so in the same order and cannot deadlock.
    """
    return _arrays(_in_order(acks))


def parameters(acks: Sequence[Ack]) -> dict[str, list[Any]]:
    """`acks` as the arrays of `ACK`, in the order of `executions`.

    What none of them says is left out, since most jobs just complete, and unnest() fills shorter arrays up with NULL.
    """
    ordered = _in_order(acks)
    return {
        **_arrays(ordered),
        "states": _unless_all(JobState.COMPLETED, [one.state.value for one in ordered]),
        "delays": _unless_all(None, [one.delay for one in ordered]),
        "errors": _unless_all(None, [one.error for one in ordered]),
        "refunds": _unless_all(0, [int(one.refund) for one in ordered]),
        "metas": _unless_all(None, [one.meta for one in ordered]),
    }


def _in_order(acks: Sequence[Ack]) -> list[Ack]:
    return sorted(acks, key=attrgetter("id"))


def _arrays(ordered: list[Ack]) -> dict[str, list[Any]]:
    return {"ids": [one.id for one in ordered], "attempted_ats": [one.attempted_at for one in ordered]}


def _unless_all(usual: object, values: list[Any]) -> list[Any]:
    return [] if values.count(usual) == len(values) else values


ACK, COMPLETE, STILL_EXECUTING, SETTLE = ack(), complete(), still_executing(), ack(skip_locked=False)
