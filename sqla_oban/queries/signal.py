"""Give a job a signal: a payload under a name, which its worker asks for.

A signal is kept in the job's row, in `meta.signals`, and so is what the job waits for, in `meta.signal_wait`. Both go
with the row, and each has one writer: senders write the one, the job's own executions the other.

No signal is lost between the worker's look and the moment when the job is put aside (it parks):

1. the worker looks at what its claim read, and finds no signal of that name;
2. its outcome, `scheduled` and what it waits for, is written by the acknowledgement: one UPDATE, fenced by execution;
3. a sender writes the signal by one UPDATE as well (`give`).

Both lock the row, and whoever is second computes from what the first has committed:

* (3) before (2): the trigger (`migrations/waiting.py`) sees both the wait and the signal in the row that (2) is about
  to write, and makes that `available` instead;
* (2) before (3): the signal finds the job parked, for this name and in this execution, and makes it available itself.

A signal for a job in any other state is only kept, and found by the next claim. If the process dies before (2), the
job is rescued, and its next claim reads the signal. Nobody ever takes a signal out, and `give` refuses a second one of
a name, so whoever asks again gets the same payload.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    not_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from sqla_oban.queries.expressions import (
    JOBS,
    SIGNAL_WAIT,
    SIGNALS,
    constant,
    execution,
    in_states,
    literal,
    now,
    object_or_empty,
    rings,
)
from sqla_oban.queries.lock import locked
from sqla_oban.states import UNFINISHED, JobState

DEFAULT_SIGNAL = "signal"
"""The name of a signal where nobody gives it one."""


def give(ids: Select[Any], schema: str | None, *, name: str, payload: str) -> Executable:
    """Writes the signal `name` with `payload`, JSON as text, into those of `ids` that have not ended; returns them.

    One that was parked for it can be claimed from then on. One that has a signal of that name keeps that, and is not
    returned.
    """
    chosen, called = locked(ids), bindparam("name", name, type_=Text)
    signals = object_or_empty(JOBS.c.meta.op("->")(constant(SIGNALS)))
    given = signals.op("||")(
        func.jsonb_build_object(called, cast(bindparam("payload", payload, type_=Text), JSONB), type_=JSONB)
    )
    parked = _is_parked(called)
    signalled = (
        update(JOBS)
        .where(JOBS.c.id == chosen.c.id, in_states(*UNFINISHED), not_(signals.bool_op("?")(called)))
        .values(
            state=case((parked, literal(JobState.AVAILABLE)), else_=JOBS.c.state),
            scheduled_at=case((parked, now()), else_=JOBS.c.scheduled_at),
            meta=object_or_empty(JOBS.c.meta).op("||")(func.jsonb_build_object(constant(SIGNALS), given, type_=JSONB)),
        )
        .returning(JOBS.c.id, JOBS.c.queue, JOBS.c.state)
        .cte("signalled")
    )
    return select(signalled.c.id, rings(signalled, schema))


def _is_parked(name: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a job was put aside for the signal `name`, by its last execution."""
    wait = JOBS.c.meta.op("->")(constant(SIGNAL_WAIT))
    return and_(
        in_states(JobState.SCHEDULED),
        wait.op("->>")(constant("name")) == name,
        wait.op("->")(constant("execution")) == execution(),
    )


def kept(meta: Mapping[str, Any]) -> ColumnElement[Any]:
    """`meta`, which is to take the place of a job's, with what the job was sent and waits for."""
    new: ColumnElement[Any] = cast(bindparam(None, dict(meta), type_=JSONB), JSONB)
    for key in (SIGNALS, SIGNAL_WAIT):
        found = JOBS.c.meta.op("->")(constant(key))
        held = func.jsonb_build_object(constant(key), found, type_=JSONB)
        new = new.op("||")(case((found.is_not(None), held), else_=literal_column("'{}'::jsonb", JSONB)))
    return new
