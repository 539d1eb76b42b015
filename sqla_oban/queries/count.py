"""Count jobs, without reading all of them where they are many."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    Text,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    table,
    true,
)

from sqla_oban.queries.available import queues_with_work, ready
from sqla_oban.queries.expressions import JOBS, constant, in_states
from sqla_oban.states import JobState

EXACTLY: Final = 50_000
"""Up to how many jobs of a state are counted; above, it is PostgreSQL's estimate."""

QUEUES: Final = 100
WAITING: Final = 5_000
"""How many queues are looked at, and up to how many jobs are counted that wait in each."""


def estimates() -> Select[Any]:
    """How many jobs of each state the planner believes in: state and number, none where it was never analysed."""
    catalog = table("pg_class", column("oid"), column("relname"), column("relnamespace"), column("reltuples"))
    spaces = table("pg_namespace", column("oid"), column("nspname"))
    names = ("schemaname", "tablename", "attname", "most_common_vals", "most_common_freqs")
    stats = table("pg_stats", *map(column, names))
    values = cast(cast(stats.c.most_common_vals, Text), JOBS.c.tags.type)
    common = (
        func.unnest(values, stats.c.most_common_freqs)
        .table_valued(column("state", Text), column("share", Float))
        .render_derived(name="common")
    )
    home = select(literal_column("tableoid")).select_from(JOBS).limit(1).scalar_subquery()
    return (
        select(common.c.state, func.greatest(catalog.c.reltuples, 0) * common.c.share)
        .select_from(catalog)
        .join(spaces, spaces.c.oid == catalog.c.relnamespace)
        .join(stats, (stats.c.schemaname == spaces.c.nspname) & (stats.c.tablename == catalog.c.relname))
        .join(common, true())
        .where(catalog.c.oid == home, stats.c.attname == constant("state"))
    )


def counts(states: Collection[JobState]) -> Select[Any]:
    """One row with a column for each of `states`: how many jobs are in it, at most one more than `EXACTLY`."""
    one: ColumnElement[int] = literal_column("1")
    few = {
        state: select(one).select_from(JOBS).where(in_states(state)).limit(EXACTLY + 1).subquery(f"in_{state}")
        for state in states
    }
    return select(
        *(select(func.count()).select_from(rows).scalar_subquery().label(state) for state, rows in few.items())
    )


def waiting() -> Select[Any]:
    """The queues in which jobs wait, and how many in each, at most one more than `WAITING`."""
    names = queues_with_work()
    found = select(names.c.queue).where(names.c.queue.isnot(None)).limit(literal(QUEUES)).subquery("found")
    return select(found.c.queue, ready(found.c.queue, WAITING + 1).label("jobs")).order_by(found.c.queue)


ESTIMATES, WAITING_BY_QUEUE = estimates(), waiting()
