"""Take jobs of a queue, front to back, past those that others are taking."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    DateTime,
    Executable,
    SmallInteger,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.expressions import JOBS, in_states, literal, now
from sqla_oban.states import JobState


class Claimed(NamedTuple):
    """A claimed job, as raw as it can be.

    JSON and foreign timestamps stay text until a worker wants them: the database accepts values that Python cannot
    read (the year 20000, a number of 5,000 digits), and one such row must not break the claim of the others.
    """

    id: int
    state: JobState
    worker: str
    attempt: int
    max_attempts: int
    priority: int
    attempted_at: datetime
    scheduled_at: str
    inserted_at: str
    args: str
    meta: str
    errors: str
    tags: list[str]


class Cursor(NamedTuple):
    """The key behind which a claim starts to look: that of the last job claimed."""

    after_priority: int = -1
    after_scheduled_at: str = "-infinity"
    after_id: int = 0

    @classmethod
    def behind(cls, claimed: list[Claimed]) -> "Cursor":
        """Behind the last of `claimed`, which must be in the order of the claim and not empty."""
        last = claimed[-1]
        return cls(last.priority, last.scheduled_at, last.id)


def claim() -> Executable:
    """Claims up to `demand` jobs of the queue `of_queue` for `holder`, behind the cursor's three fields.

    * The CTE is MATERIALIZED, because a plain LIMIT subquery may be run again and claim more than its limit.
    * The cursor skips the index entries of jobs that were claimed before: they stay in the index, dead, until a
      vacuum that a long transaction elsewhere can hold up for hours. Without it each claim reads all of them again.
    * A job without an attempt left (another library may have put it back) is discarded here instead of claimed, so
      that it can neither run nor stand in the way of others for ever.
    * `attempted_at` is by the wall clock and therefore different for every claim of a job: it is what the
      acknowledgement is fenced by.

    Rows come back unordered, exhausted ones among them.
    """
    key = tuple_(JOBS.c.priority, JOBS.c.scheduled_at, JOBS.c.id)
    start = tuple_(
        bindparam("after_priority", type_=SmallInteger),
        cast(bindparam("after_scheduled_at", type_=Text), DateTime),
        bindparam("after_id", type_=JOBS.c.id.type),
    )
    picked = (
        select(JOBS.c.id)
        .where(
            in_states(JobState.AVAILABLE),
            JOBS.c.queue == bindparam("of_queue", type_=Text),
            key > start,
        )
        .order_by(JOBS.c.priority, JOBS.c.scheduled_at, JOBS.c.id)
        .limit(bindparam("demand", type_=JOBS.c.id.type))
        .with_for_update(skip_locked=True)
        .cte("picked")
        .prefix_with("MATERIALIZED")
    )
    exhausted = JOBS.c.attempt >= JOBS.c.max_attempts
    return (
        update(JOBS)
        .where(JOBS.c.id == picked.c.id)
        .values(
            state=case((exhausted, literal(JobState.DISCARDED)), else_=literal(JobState.EXECUTING)),
            attempt=case((exhausted, JOBS.c.attempt), else_=JOBS.c.attempt + literal_column("1")),
            discarded_at=case((exhausted, now()), else_=JOBS.c.discarded_at),
            attempted_at=now(),
            attempted_by=bindparam("holder", type_=ARRAY(Text)),
        )
        .returning(*_columns())
    )


def _columns() -> list[Any]:
    read = {
        "attempted_at": type_coerce(JOBS.c.attempted_at, DateTime),
        **{name: cast(JOBS.c[name], Text).label(name) for name in ("scheduled_at", "inserted_at", "args", "meta")},
        "errors": cast(func.to_jsonb(JOBS.c.errors), Text).label("errors"),  # jsonb[] where Oban for Elixir made it
    }
    return [read.get(name, JOBS.c[name]) for name in Claimed._fields]


CLAIM = claim()
