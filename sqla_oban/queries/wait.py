"""Wait for the end of jobs: say so in the row, and look.

Who waits marks the job with the moment until which he does. A trigger (`migrations/waiting.py`) then tells of its end,
whoever brings that about, in the transaction that does. No end is missed, and none is waited for in vain:

1. the mark is committed: with the job itself, or by an UPDATE that finds it unfinished;
2. whoever waits LISTENs, and looks at the row after that (and whenever hearing begins anew).

The mark stays until its time, so that a job that is retried before anybody has looked tells of its next end as well.
What ends the job locks its row. Before (1) it leaves a row that is final, or gone, for (2) to see; after (1) it finds
the mark and tells, and is either visible to (2) or commits later, and is heard. A notice is only a hint: it says
which row to look at, and the row says how the job ended, in one statement, state, result and error together. What
remains for the poll is notices that are not delivered, and crashes.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Executable,
    Interval,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from sqla_oban.outcomes import RESULT
from sqla_oban.queries.expressions import JOBS, constant, in_states, now, rings
from sqla_oban.queries.lock import locked
from sqla_oban.states import FINAL, UNFINISHED


def mark(ids: Select[Any], schema: str | None, *, during: timedelta) -> Executable:
    """Has the end of `ids` told of, if it comes within that time; returns those that have not ended.

    It rings for those that are available: a claim may have passed over the row while it was locked here.
    """
    chosen = locked(ids)
    until = now() + bindparam("during", during, type_=Interval())
    marked = (
        update(JOBS)
        .where(JOBS.c.id == chosen.c.id, in_states(*UNFINISHED))
        .values(awaited_until=func.greatest(JOBS.c.awaited_until, until))
        .returning(JOBS.c.id, JOBS.c.queue, JOBS.c.state)
        .cte("marked")
    )
    return select(marked.c.id, rings(marked, schema))


def look() -> Executable:
    """The jobs `ids` that are there, each with its state and, if it has ended, its result and its last error.

    The result is JSON as text, so that one that Python cannot read is in nobody else's way.
    """
    state = cast(JOBS.c.state, Text)  # so that no partial index matches: the rows are found by their ids
    is_final = or_(*(state == constant(final) for final in FINAL))
    errors = func.to_jsonb(JOBS.c.errors, type_=JSONB)  # jsonb[] where Oban for Elixir made it
    result = cast(JOBS.c.meta.op("->")(constant(RESULT)), Text)
    error = errors.op("->")(literal_column("-1")).op("->>")(constant("error"))
    return select(
        JOBS.c.id,
        state.label("state"),
        is_final.label("is_final"),
        case((is_final, result)).label("result"),
        case((is_final, error)).label("error"),
    ).where(JOBS.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))


LOOK = look()
