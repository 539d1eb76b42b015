"""Write how jobs ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Executable,
    Float,
    SmallInteger,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from sqla_oban.models.job import JOB_STATE
from sqla_oban.queries.expressions import (
    JOBS,
    constant,
    counted,
    is_executing,
    now,
    seconds,
    with_error,
)
from sqla_oban.states import JobState


@dataclass(frozen=True, slots=True)
class Ack:
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


def ack() -> Executable:
    """Writes any number of outcomes, given as parallel arrays; returns the ids that were written.

    Fenced: a row changes only while it is still executing under the same `attempted_at`. An outcome that comes after
    the job was rescued or handed back matches nothing. Each claim sets a new `attempted_at`, so no two executions of
    a job share one.
    """
    done = (
        func.unnest(
            bindparam("ids", type_=ARRAY(BigInteger)),
            bindparam("attempted_ats", type_=ARRAY(DateTime)),
            bindparam("states", type_=ARRAY(Text)),
            bindparam("delays", type_=ARRAY(Float(53))),
            bindparam("errors", type_=ARRAY(Text)),
            bindparam("refunds", type_=ARRAY(SmallInteger)),
            bindparam("metas", type_=ARRAY(Text)),
        )
        .table_valued("id", "attempted_at", "state", "delay", "error", "refund", "meta")
        .render_derived(name="done")
    )
    state = done.c.state
    meta = case((state == constant("scheduled"), counted("snoozed")), else_=JOBS.c.meta)
    return (
        update(JOBS)
        .where(
            JOBS.c.id == done.c.id,
            type_coerce(JOBS.c.attempted_at, DateTime) == done.c.attempted_at,
            is_executing(),
        )
        .values(
            state=cast(state, JOB_STATE),
            attempt=func.greatest(JOBS.c.attempt - done.c.refund, literal_column("0")),
            scheduled_at=case((done.c.delay.is_(None), JOBS.c.scheduled_at), else_=now() + seconds(done.c.delay)),
            errors=case((done.c.error.is_(None), JOBS.c.errors), else_=with_error(cast(done.c.error, Text))),
            meta=case((done.c.meta.is_(None), meta), else_=meta.op("||")(cast(done.c.meta, JSONB))),
            **{
                f"{ended}_at": case((state == constant(ended), now()), else_=JOBS.c[f"{ended}_at"])
                for ended in ("completed", "discarded", "cancelled")
            },
        )
        .returning(JOBS.c.id)
    )


def parameters(acks: Sequence[Ack]) -> dict[str, list[Any]]:
    """`acks` as the arrays of `ACK`.

    Sorted by id, so that two statements that lock the same rows do so in the same order and cannot deadlock.
    """
    ordered = sorted(acks, key=lambda one: one.id)
    return {
        "ids": [one.id for one in ordered],
        "attempted_ats": [one.attempted_at for one in ordered],
        "states": [one.state.value for one in ordered],
        "delays": [one.delay for one in ordered],
        "errors": [one.error for one in ordered],
        "refunds": [int(one.refund) for one in ordered],
        "metas": [one.meta for one in ordered],
    }


ACK = ack()
