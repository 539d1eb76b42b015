"""Look at jobs without hurting those who work on them.

Every statement here reads a bounded number of rows, and runs under a statement timeout: whoever reads for long keeps
dead rows from being removed, and a queue is slowed by its dead rows.
"""

from collections.abc import Sequence
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
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ClauseElement

from sqla_oban.queries.available import LANES, queues_with_work
from sqla_oban.queries.available import ready as available
from sqla_oban.queries.expressions import JOBS, constant, in_states, now
from sqla_oban.states import WAITING, JobState

MOST_COUNTED: Final = 50_000
"""Rows above which a number is an estimate."""
TIMEOUT: Final = "5s"
"""How long a question may take."""
MOST_SHOWN: Final = 200
"""Characters of a job's arguments in a list; they may be a megabyte each."""
PRIORITIES: Final = "9"

HURRY = select(func.set_config(constant("statement_timeout"), constant(TIMEOUT), true()))
"""No statement of this transaction takes longer than `TIMEOUT`."""

Conditions = Sequence[ColumnElement[bool]]


class Explain(Executable, ClauseElement):
    """What the planner makes of a query, as JSON."""

    inherit_cache = False

    def __init__(self, query: Select[Any]) -> None:
        self.query = query


@compiles(Explain)
def _explained(element: Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.query, **options)}"


def page(conditions: Conditions, *, before: int | None, limit: int) -> Select[Any]:
    """The newest jobs, of those with a smaller id than `before`, in short."""
    older = [] if before is None else [JOBS.c.id < before]
    return select(*_summary()).where(*conditions, *older).order_by(JOBS.c.id.desc()).limit(limit)


def ids(conditions: Conditions, *, after: int, upto: int, limit: int) -> Select[Any]:
    """The ids of jobs between two others, the smallest first."""
    return select(JOBS.c.id).where(*conditions, JOBS.c.id > after, JOBS.c.id <= upto).order_by(JOBS.c.id).limit(limit)


def newest() -> Select[Any]:
    """The greatest id there is."""
    return select(func.coalesce(func.max(JOBS.c.id), literal_column("0")))


def counted(conditions: Conditions) -> Select[Any]:
    """How many jobs there are; one more than `MOST_COUNTED` where there are more."""
    some = select(literal_column("1")).select_from(JOBS).where(*conditions).limit(MOST_COUNTED + 1).subquery("some")
    return select(func.count()).select_from(some)


def estimated(conditions: Conditions) -> Explain:
    """How many jobs the planner believes in; reads none."""
    return Explain(select(JOBS.c.id).where(*conditions))


def ready() -> Select[Any]:
    """Of each queue in which jobs are available: how many, up to `MOST_COUNTED` and one, and for how long the oldest.

    The indexes are hopped through from queue to queue, and that of the claim from priority to priority for the oldest;
    where a queue is divided into partitions, the oldest is that of a sample.
    """
    queues = queues_with_work()
    whole, parted = LANES
    priorities = func.generate_series(literal_column("0"), literal_column(PRIORITIES)).table_valued(column("priority"))
    priorities = priorities.render_derived(name="priorities")
    due = (
        select(JOBS.c.scheduled_at)
        .where(whole, JOBS.c.queue == queues.c.queue, JOBS.c.priority == priorities.c.priority)
        .order_by(JOBS.c.scheduled_at, JOBS.c.id)
        .limit(1)
        .correlate(queues, priorities)
        .scalar_subquery()
    )
    sample = (
        select(JOBS.c.scheduled_at)
        .where(parted, JOBS.c.queue == queues.c.queue)
        .limit(MOST_COUNTED)
        .correlate(queues)
        .subquery("sample")
    )
    oldest = func.least(
        select(func.min(due)).select_from(priorities).scalar_subquery(),
        select(func.min(sample.c.scheduled_at)).scalar_subquery(),
    )
    count = available(queues.c.queue, MOST_COUNTED + 1)
    since = func.greatest(func.least(cast(oldest, DateTime), now()), cast(constant("0001-01-01"), DateTime))
    lag = cast(extract("epoch", now() - since), Float(53))
    return select(queues.c.queue, count.label("number"), lag.label("lag")).where(queues.c.queue.is_not(None))


def others() -> Select[Any]:
    """How many jobs of each queue run, or wait for their time; of a sample where there are more than `MOST_COUNTED`."""
    some = (
        select(JOBS.c.queue, cast(JOBS.c.state, Text).label("state"))
        .where(in_states(*WAITING))
        .limit(MOST_COUNTED + 1)
        .union_all(
            select(JOBS.c.queue, cast(JOBS.c.state, Text)).where(in_states(JobState.EXECUTING)).limit(MOST_COUNTED + 1)
        )
        .subquery("some")
    )
    return select(some.c.queue, some.c.state, func.count().label("number")).group_by(some.c.queue, some.c.state)


def _summary() -> list[ColumnElement[Any]]:
    """Moments as text: others may have stored some that Python does not know."""
    names = ("id", "state", "queue", "worker", "attempt", "max_attempts", "priority", "tags")
    ended = func.coalesce(JOBS.c.completed_at, JOBS.c.cancelled_at, JOBS.c.discarded_at)
    moments = {
        **{name: JOBS.c[name] for name in ("inserted_at", "scheduled_at", "attempted_at")},
        "ended_at": ended,
    }
    return [
        *(JOBS.c[name] if name != "state" else cast(JOBS.c.state, Text).label("state") for name in names),
        literal_column("oban_jobs.attempted_by[1]", Text()).label("node"),
        func.left(cast(JOBS.c.args, Text), MOST_SHOWN).label("args"),
        *(_told(moment).label(name) for name, moment in moments.items()),
    ]


def _told(moment: ColumnElement[Any]) -> ColumnElement[str]:
    """ISO 8601; there are moments that are none, `infinity`."""
    return func.coalesce(func.to_char(moment, constant('YYYY-MM-DD"T"HH24:MI:SS"Z"')), cast(moment, Text))
