"""What there is to do in each queue."""

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Executable,
    Float,
    Select,
    Text,
    cast,
    column,
    extract,
    func,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ClauseElement

from sqla_oban.queries.available import LANES, queues_with_work
from sqla_oban.queries.available import ready as available
from sqla_oban.queries.count import EXACTLY
from sqla_oban.queries.expressions import JOBS, constant, in_states, now
from sqla_oban.states import WAITING, JobState

PRIORITIES: Final = 9
"""Up to which priority each is asked by itself; Oban has no more."""


class Explain(Executable, ClauseElement):
    """What the planner makes of a query, as JSON."""

    inherit_cache = False

    def __init__(self, query: Select[Any]) -> None:
        self.query = query


@compiles(Explain)
def _explained(element: Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.query, **options)}"


def estimated(*conditions: Any) -> Explain:
    """How many jobs the planner believes in; reads none."""
    return Explain(select(JOBS.c.id).where(*conditions))


def ready() -> Select[Any]:
    """Of each queue in which jobs are available: how many, up to `EXACTLY` and one, and for how long the oldest.

    The indexes are hopped through from queue to queue, and that of the claim from priority to priority for the oldest;
    of priorities beyond Oban's, and where a queue is divided into partitions, the oldest is that of a sample.
    """
    queues = queues_with_work()
    whole, parted = LANES
    most: ColumnElement[int] = literal_column(str(PRIORITIES))
    priorities = func.generate_series(literal_column("0"), most).table_valued(column("priority"))
    priorities = priorities.render_derived(name="priorities")
    due = (
        select(JOBS.c.scheduled_at)
        .where(whole, JOBS.c.queue == queues.c.queue, JOBS.c.priority == priorities.c.priority)
        .order_by(JOBS.c.scheduled_at, JOBS.c.id)
        .limit(1)
        .correlate(queues, priorities)
        .scalar_subquery()
    )
    samples = (
        select(JOBS.c.scheduled_at)
        .where(among, JOBS.c.queue == queues.c.queue)
        .limit(EXACTLY)
        .correlate(queues)
        .subquery("sample")
        for among in (parted, whole & (JOBS.c.priority > most))
    )
    oldest = func.least(
        select(func.min(due)).select_from(priorities).scalar_subquery(),
        *(select(func.min(sample.c.scheduled_at)).scalar_subquery() for sample in samples),
    )
    count = available(queues.c.queue, EXACTLY + 1)
    since = func.greatest(func.least(cast(oldest, DateTime), now()), cast(constant("0001-01-01"), DateTime))
    lag = cast(extract("epoch", now() - since), Float(53))
    return select(queues.c.queue, count.label("number"), lag.label("lag")).where(queues.c.queue.is_not(None))


def others() -> Select[Any]:
    """How many jobs of each queue run, or wait for their time; of a sample where there are more than `EXACTLY`."""
    some = (
        select(JOBS.c.queue, cast(JOBS.c.state, Text).label("state"))
        .where(in_states(*WAITING))
        .limit(EXACTLY + 1)
        .union_all(
            select(JOBS.c.queue, cast(JOBS.c.state, Text)).where(in_states(JobState.EXECUTING)).limit(EXACTLY + 1)
        )
        .subquery("some")
    )
    return select(some.c.queue, some.c.state, func.count().label("number")).group_by(some.c.queue, some.c.state)
