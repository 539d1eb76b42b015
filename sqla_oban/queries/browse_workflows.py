"""Look through workflows, and at the graph of one, however many there are and however large each is.

A list counts no more than `COUNTED` jobs of each, and a graph has no more than `MOST_JOBS` jobs: both are read in the
order of the index of jobs by workflow, which ends there.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Select, Text, bindparam, cast, column, exists, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.models import Workflow
from sqla_oban.models.workflow import EDGES
from sqla_oban.queries.browse import epoch
from sqla_oban.queries.expressions import JOBS, in_states, now
from sqla_oban.states import UNFINISHED

WORKFLOWS: Any = Workflow.__table__

COUNTED: Final = 2_000
"""Jobs that are counted of a workflow."""

MOST_JOBS: Final = 500
"""Jobs of a graph, the first ones by name."""

MOST_EDGES: Final = 3_000
"""Edges of a graph."""


def page() -> Select[Any]:
    """Up to `size` workflows with an id below `before`, the newest first; whether one lives is exact."""
    live = exists().where(JOBS.c.workflow_id == WORKFLOWS.c.id, in_states(*UNFINISHED))
    return (
        select(
            *(WORKFLOWS.c.id, WORKFLOWS.c.name, live.label("live")),
            epoch(WORKFLOWS.c.inserted_at).label("inserted_at"),
            epoch(now()).label("now"),
        )
        .where(WORKFLOWS.c.id < bindparam("before", type_=BigInteger))
        .order_by(WORKFLOWS.c.id.desc())
        .limit(bindparam("size", type_=BigInteger))
    )


def counts() -> Select[Any]:
    """How many jobs of the workflows `ids` are in which state, and since when and until when these ran."""
    ids = func.unnest(bindparam("ids", type_=ARRAY(BigInteger))).table_valued(column("id", BigInteger)).render_derived()
    ended = func.greatest(JOBS.c.completed_at, JOBS.c.cancelled_at, JOBS.c.discarded_at)
    some = (
        select(JOBS.c.state, JOBS.c.attempted_at, ended.label("ended_at"))
        .where(JOBS.c.workflow_id == ids.c.id)
        .order_by(JOBS.c.workflow_name)
        .limit(literal_column(str(COUNTED)))
        .lateral("some")
    )
    return (
        select(
            *(ids.c.id, cast(some.c.state, Text).label("state"), func.count().label("jobs")),
            func.min(epoch(some.c.attempted_at)).label("began"),
            func.max(epoch(some.c.ended_at)).label("ended"),
        )
        .select_from(ids.join(some, true()))
        .group_by(ids.c.id, some.c.state)
    )


def steps() -> Select[Any]:
    """The first jobs of `workflow` by name, and one more, which tells that there are more."""
    return (
        select(JOBS.c.id, JOBS.c.workflow_name.label("name"), cast(JOBS.c.state, Text).label("state"), JOBS.c.worker)
        .where(JOBS.c.workflow_id == bindparam("workflow", type_=BigInteger))
        .order_by(JOBS.c.workflow_name)
        .limit(literal_column(str(MOST_JOBS + 1)))
    )


def edges() -> Select[Any]:
    """Which jobs the jobs `ids` wait for, or waited."""
    return (
        select(EDGES.c.upstream_id, EDGES.c.downstream_id)
        .where(EDGES.c.downstream_id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))
        .limit(literal_column(str(MOST_EDGES + 1)))
    )


PAGE, COUNTS, STEPS, ARROWS = page(), counts(), steps(), edges()
