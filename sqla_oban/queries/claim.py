"""Take jobs of a queue, front to back, past those that others are taking."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    DateTime,
    Executable,
    Integer,
    SmallInteger,
    TableValuedAlias,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.expressions import JOBS, in_states, literal, now, parallel
from sqla_oban.states import JobState


class Claimed(NamedTuple):
    """A claimed job, as raw as it can be.

    JSON and foreign timestamps stay text until a worker wants them: the database accepts values that Python cannot
    read (the year 20000, a number of 5,000 digits), and one such row must not break the claim of the others.
    """

    id: int
    state: str
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


class Key(NamedTuple):
    """The place of a job in its queue: jobs are claimed in the order of their keys."""

    priority: int
    scheduled_at: str
    id: int

    @classmethod
    def of(cls, claimed: Claimed) -> "Key":
        """The place that a claimed job had."""
        return cls(claimed.priority, claimed.scheduled_at, claimed.id)


START: Final = Key(-1, "-infinity", 0)
"""Before every job."""
END: Final = 32_768
"""Above every priority that the table takes."""


def behind(*keys: Key) -> dict[str, list[Any]]:
    """The parameters of `CLAIM` that say where to look: behind each key, as far as the priority of the next.

    The keys are of different priorities, in ascending order.

    >>> behind(START, Key(5, "2026-11-25 03:00:00", 7))["below"]
    [5, 32768]
    """
    return {
        "after_priorities": [key.priority for key in keys],
        "after_moments": [key.scheduled_at for key in keys],
        "after_ids": [key.id for key in keys],
        "below": [key.priority for key in keys[1:]] + [END],
    }


def claim() -> Executable:
    """Claims up to `demand` jobs of the queue `of_queue` for `holder`, in the parts of it that `behind` names.

    * The CTE is MATERIALIZED, because a plain LIMIT subquery may be run again and claim more than its limit.
    * The keys skip the index entries of jobs that were claimed before: they stay in the index, dead, until a vacuum
      that a long transaction elsewhere can hold up for hours. Without them each claim reads all of those again. There
      is a key for each priority, so that an urgent job is behind one of them whatever was claimed before it came.
    * The parts are looked at one after the other, as they are given, and no further than the demand asks: rows are
      locked only as they are taken. A test looks at the plan.
    * Jobs with a partition are in an index of their own and not in this one; only `oban_claim_within` takes them.
    * A job without an attempt left (another library may have put it back) is discarded here instead of claimed, so
      that it can neither run nor stand in the way of others for ever.
    * `attempted_at` is by the wall clock and therefore different for every claim of a job: it is what the
      acknowledgement is fenced by.

    Rows come back unordered, exhausted ones among them.
    """
    part = _parts()
    key = tuple_(JOBS.c.priority, JOBS.c.scheduled_at, JOBS.c.id)
    demand = bindparam("demand", type_=JOBS.c.id.type)
    front = (
        select(JOBS.c.id)
        .where(
            in_states(JobState.AVAILABLE),
            JOBS.c.partition.is_(None),
            JOBS.c.queue == bindparam("of_queue", type_=Text),
            key > tuple_(part.c.priority, cast(part.c.moment, DateTime), part.c.id),
            JOBS.c.priority < part.c.below,
        )
        .order_by(JOBS.c.priority, JOBS.c.scheduled_at, JOBS.c.id)
        .limit(demand)
        .with_for_update(skip_locked=True, of=JOBS)
        .lateral("front")
    )
    picked = (
        select(front.c.id).select_from(part.join(front, true())).limit(demand).cte("picked").prefix_with("MATERIALIZED")
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


def _parts() -> TableValuedAlias:
    return parallel(
        "part",
        {
            "priority": (SmallInteger, "after_priorities"),
            "moment": (Text, "after_moments"),
            "id": (BigInteger, "after_ids"),
            "below": (Integer, "below"),
        },
    )


def _columns() -> list[Any]:
    read = {
        "attempted_at": type_coerce(JOBS.c.attempted_at, DateTime),
        **{
            name: cast(JOBS.c[name], Text).label(name)
            for name in ("state", "scheduled_at", "inserted_at", "args", "meta")
        },
        "errors": cast(func.to_jsonb(JOBS.c.errors), Text).label("errors"),  # jsonb[] where Oban for Elixir made it
    }
    return [read.get(name, JOBS.c[name]) for name in Claimed._fields]


CLAIM = claim()
