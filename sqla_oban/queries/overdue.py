"""Find what of workflows was left unsettled, and have it settled; for whom that is, see `migrations/workflows.py`."""

from typing import Any, Final, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Join,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    false,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    true,
    tuple_,
)

from sqla_oban.models.note import NOTES
from sqla_oban.models.workflow import EDGES
from sqla_oban.queries.expressions import JOBS, constant, home_function, in_states
from sqla_oban.queries.notes import NOTED, is_first, xid
from sqla_oban.states import JobState

UPSTREAM = JOBS.alias("upstream")
FROM_THE_FIRST: Final = {"moment": "-infinity", "id": 0}
"""The key of `overdue` before every job."""


class Overdue(NamedTuple):
    """What a look at waiting jobs has come to.

    Args:
        jobs: those that were noted; the commit settles them. None for none.
        looked: how many were looked at.
        moment, id: where the next look goes on; None if there was nothing.
    """

    jobs: list[int] | None
    looked: int
    moment: str | None
    id: int | None


def overdue(schema: str | None) -> Executable:
    """Looks at the next `batch` jobs that wait in workflows, and has settled what nobody has; an `Overdue`.

    That is a job that waits for no edge, nor for its turn in a chain: there may be any number of these; and one of
    which an edge is broken, by how its upstream job has ended, without its being written. The look begins behind the
    job with the key `moment`, `id`. It reads what waits, and nothing that workflows have left behind.
    """
    waiting = _waiting().cte("waiting").prefix_with("MATERIALIZED")
    lost = _lost(waiting, schema)
    noted = insert(NOTES).from_select(NOTED, lost).returning(NOTES.c.job_id).cte("noted")
    last = (
        select(cast(waiting.c.scheduled_at, Text).label("moment"), waiting.c.id)
        .order_by(waiting.c.scheduled_at.desc(), waiting.c.id.desc())
        .limit(literal_column("1"))
        .subquery("last")
    )
    jobs = select(func.array_agg(noted.c.job_id)).scalar_subquery()
    looked = select(func.count()).select_from(waiting).scalar_subquery()
    one = select(literal_column("1")).subquery("one")
    return select(jobs, looked, last.c.moment, last.c.id).select_from(one.outerjoin(last, true()))


def undue(schema: str | None) -> Executable:
    """Has settled what a workflow has cancelled for a reason that is gone, up to `batch` jobs, and returns them.

    Either the reason is written down and no longer true, or it is not even written down.
    """
    judged, verdict = _judged(schema)
    whole = (
        select(EDGES.c.workflow_id, EDGES.c.upstream_id)
        .select_from(judged)
        .where(EDGES.c.state == constant("broken"), UPSTREAM.c.id.is_not(None), verdict != constant("broken"))
    )
    cause = EDGES.alias("cause")
    revived = (
        select(JOBS.c.workflow_id, JOBS.c.id)
        .select_from(cause.join(JOBS, JOBS.c.id == cause.c.downstream_id))
        .where(
            cause.c.state != constant("broken"),
            cause.c.cancelled_at == JOBS.c.cancelled_at,
            in_states(JobState.CANCELLED),
            not_(_breaks(JOBS)),
        )
    )
    found = whole.union(revived).limit(bindparam("batch", type_=BigInteger)).subquery()
    return insert(NOTES).from_select(NOTED, select(xid(), found, is_first())).returning(NOTES.c.job_id)


def _waiting() -> Select[Any]:
    key = tuple_(cast(bindparam("moment", type_=Text), DateTime), bindparam("id", type_=BigInteger))
    return (
        select(JOBS.c.id, JOBS.c.workflow_id, JOBS.c.chain_waits, JOBS.c.scheduled_at)
        .where(
            JOBS.c.workflow_id.is_not(None),
            in_states(JobState.SUSPENDED),
            tuple_(JOBS.c.scheduled_at, JOBS.c.id) > key,
        )
        .order_by(JOBS.c.scheduled_at, JOBS.c.id)
        .limit(bindparam("batch", type_=BigInteger))
    )


def _lost(waiting: CTE, schema: str | None) -> Select[Any]:
    """The notes to be made: of a job itself, or of the one that breaks an edge of it."""
    judged, verdict = _judged(schema)
    found = (
        select(
            func.min(EDGES.c.upstream_id).filter(verdict == constant("broken")).label("broke"),
            func.bool_or(verdict == constant("open")).label("waits"),
        )
        .select_from(judged)
        .where(EDGES.c.downstream_id == waiting.c.id, EDGES.c.state == constant("open"))
        .correlate(waiting)
        .lateral("found")
    )
    free = and_(not_(func.coalesce(found.c.waits, false())), waiting.c.chain_waits.is_not(true()))
    return (
        select(xid(), waiting.c.workflow_id, func.coalesce(found.c.broke, waiting.c.id), is_first())
        .select_from(waiting.join(found, true()))
        .where(or_(found.c.broke.is_not(None), free, _breaks(waiting)))
    )


def _breaks(job: Any) -> ColumnElement[bool]:
    """Whether an edge of a job is written down as broken."""
    return exists().where(EDGES.c.downstream_id == job.c.id, EDGES.c.state == constant("broken"))


def _judged(schema: str | None) -> tuple[Join, ColumnElement[str]]:
    """Edges with the jobs they lead from, and what each is by the state of its own."""
    judged = EDGES.outerjoin(UPSTREAM, UPSTREAM.c.id == EDGES.c.upstream_id)
    return judged, home_function(schema, "oban_workflow_verdict", cast(UPSTREAM.c.state, Text), EDGES.c.ignored)
