"""Store, read and bring back the graphs of workflows."""

from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Float,
    Join,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    exists,
    false,
    func,
    insert,
    literal_column,
    not_,
    null,
    or_,
    select,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from sqla_oban.models import Workflow
from sqla_oban.models.workflow import EDGES, NOTES
from sqla_oban.outcomes import RESULT
from sqla_oban.queries.expressions import (
    JOBS,
    constant,
    home_function,
    in_states,
    literal,
    now,
    object_or_empty,
    parallel,
    seconds,
)
from sqla_oban.queries.retry import MOST_ATTEMPTS, without_request
from sqla_oban.states import UNFINISHED, JobState

WORKFLOWS: Any = Workflow.__table__
NOTED = ["xid", "workflow_id", "job_id", "rings"]
LIVE, UPSTREAM = JOBS.alias("live"), JOBS.alias("upstream")


def insert_edges(edges: Any = EDGES) -> Executable:
    """Stores `rows`, a JSON array of objects, as edges of one workflow: one parameter for any number of them."""
    columns = {"workflow_id": BigInteger, "upstream_id": BigInteger, "downstream_id": BigInteger}
    rows = (
        func.jsonb_to_recordset(cast(bindparam("rows", type_=Text), JSONB))
        .table_valued(
            *(column(name, kind) for name, kind in columns.items()),
            *(column("upstream", Text), column("ignored", ARRAY(Text))),
        )
        .render_derived(name="edge", with_types=True)
    )
    names = [*columns, "upstream", "ignored"]
    return insert(edges).from_select(names, select(*(rows.c[name] for name in names)), include_defaults=False)


def names(jobs: Any = JOBS) -> Executable:
    """Those jobs of a workflow that have one of `names`, and whether they are about to be deleted or were."""
    return select(jobs.c.workflow_name, jobs.c.id).where(
        jobs.c.workflow_id == bindparam("workflow", type_=BigInteger),
        jobs.c.workflow_name == func.any(bindparam("names", type_=ARRAY(Text))),
    )


def note(schema: str | None) -> Executable:
    """Has jobs looked at when the transaction commits: what they are may have changed before others depended on them.

    INVARIANT: of an edge that is added and an upstream job that ends at the same time, one sees the other. Both settle
    at their commit, under the lock of the workflow.
    """
    table = NOTES if schema is None else NOTES.to_metadata(type(NOTES.metadata)(), schema=schema)
    job = parallel("job", {"id": (BigInteger, "ids")})
    notes = select(_xid(), bindparam("workflow", type_=BigInteger), job.c.id, _is_first())
    return insert(table).from_select(NOTED, notes)


def places() -> Select[Any]:
    """What each of the jobs `ids` may know of its workflow: its id; what the job depends on; and the context.

    Upstream is a JSON object, each name with its id, state and recorded value. The context may be large and is the same
    for many jobs, so that it comes with the first of each workflow only.
    """
    own = JOBS.alias("own")
    results = (
        select(
            func.json_object_agg(
                EDGES.c.upstream,
                func.json_build_object(
                    *(constant("id"), EDGES.c.upstream_id),
                    *(constant("state"), func.coalesce(cast(JOBS.c.state, Text), constant("deleted"))),
                    *(constant("result"), JOBS.c.meta.op("->")(constant(RESULT))),
                ),
            )
        )
        .select_from(EDGES.outerjoin(JOBS, JOBS.c.id == EDGES.c.upstream_id))
        .where(EDGES.c.downstream_id == own.c.id)
        .correlate(own)
        .scalar_subquery()
    )
    nth = func.row_number().over(partition_by=own.c.workflow_id, order_by=own.c.id)
    context = case((nth == literal_column("1"), cast(WORKFLOWS.c.context, Text)), else_=null())
    return (
        select(own.c.id, own.c.workflow_id, cast(results, Text).label("upstream"), context.label("context"))
        .select_from(own.outerjoin(WORKFLOWS, WORKFLOWS.c.id == own.c.workflow_id))
        .where(own.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))), own.c.workflow_id.is_not(None))
    )


def status() -> Executable:
    """How many jobs of the workflow are in which state, and since when and until when they ran."""
    ended = func.greatest(JOBS.c.completed_at, JOBS.c.cancelled_at, JOBS.c.discarded_at)
    return (
        select(
            cast(JOBS.c.state, Text).label("state"),
            func.count().label("jobs"),
            func.min(JOBS.c.attempted_at).label("began"),
            func.max(ended).label("ended"),
        )
        .where(JOBS.c.workflow_id == bindparam("workflow", type_=BigInteger))
        .group_by(JOBS.c.state)
    )


def retry() -> Executable:
    """Makes what was cancelled or discarded wait again; when that is committed, what waits for nothing runs.

    One update, whatever the graph: the triggers of the tables see the edges reopened behind each job of it.
    """
    attempt = func.least(JOBS.c.attempt, MOST_ATTEMPTS - literal_column("1")) + literal_column("1")
    return (
        update(JOBS)
        .where(
            JOBS.c.workflow_id == bindparam("workflow", type_=BigInteger),
            in_states(JobState.CANCELLED, JobState.DISCARDED),
        )
        .values(
            state=literal(JobState.SUSPENDED),
            max_attempts=func.greatest(JOBS.c.max_attempts, attempt),
            cancelled_at=null(),
            discarded_at=null(),
            meta=without_request(),
        )
        .returning(JOBS.c.id)
    )


def context_size() -> Executable:
    """Locks a workflow; returns how many bytes its context would take with `values` over it."""
    return (
        select(func.octet_length(cast(_merged(), Text)))
        .where(WORKFLOWS.c.id == bindparam("workflow", type_=BigInteger))
        .with_for_update()
    )


def put_context() -> Executable:
    """Puts `values` over those of a workflow's context."""
    return (
        update(WORKFLOWS)
        .where(WORKFLOWS.c.id == bindparam("workflow", type_=BigInteger))
        .values(context=_merged(), updated_at=now())
    )


def _merged() -> ColumnElement[Any]:
    return object_or_empty(WORKFLOWS.c.context).op("||")(cast(bindparam("values", type_=Text), JSONB))


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
    waiting = (
        select(JOBS.c.id, JOBS.c.workflow_id, JOBS.c.chain_waits, JOBS.c.scheduled_at)
        .where(
            JOBS.c.workflow_id.is_not(None),
            in_states(JobState.SUSPENDED),
            tuple_(JOBS.c.scheduled_at, JOBS.c.id)
            > tuple_(cast(bindparam("moment", type_=Text), DateTime), bindparam("id", type_=BigInteger)),
        )
        .order_by(JOBS.c.scheduled_at, JOBS.c.id)
        .limit(bindparam("batch", type_=BigInteger))
        .cte("waiting")
        .prefix_with("MATERIALIZED")
    )
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
    broken = exists().where(EDGES.c.downstream_id == waiting.c.id, EDGES.c.state == constant("broken"))
    free = and_(not_(func.coalesce(found.c.waits, false())), waiting.c.chain_waits.is_not(true()))
    lost = (
        select(_xid(), waiting.c.workflow_id, func.coalesce(found.c.broke, waiting.c.id), _is_first())
        .select_from(waiting.join(found, true()))
        .where(or_(found.c.broke.is_not(None), free, broken))
    )
    noted = insert(NOTES).from_select(NOTED, lost).returning(NOTES.c.job_id).cte("noted")
    last = (
        select(cast(waiting.c.scheduled_at, Text).label("moment"), waiting.c.id)
        .order_by(waiting.c.scheduled_at.desc(), waiting.c.id.desc())
        .limit(literal_column("1"))
        .subquery("last")
    )
    jobs = select(func.array_agg(noted.c.job_id)).scalar_subquery()
    looked = select(func.count()).select_from(waiting).scalar_subquery()
    return select(jobs, looked, last.c.moment, last.c.id).select_from(
        select(literal_column("1")).subquery("one").outerjoin(last, true())
    )


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
            not_(exists().where(EDGES.c.downstream_id == JOBS.c.id, EDGES.c.state == constant("broken"))),
        )
    )
    found = whole.union(revived).limit(bindparam("batch", type_=BigInteger)).subquery()
    return insert(NOTES).from_select(NOTED, select(_xid(), found, _is_first())).returning(NOTES.c.job_id)


def _judged(schema: str | None) -> tuple[Join, ColumnElement[str]]:
    """Edges with the jobs they lead from, and what each is by the state of its own."""
    judged = EDGES.outerjoin(UPSTREAM, UPSTREAM.c.id == EDGES.c.upstream_id)
    return judged, home_function(schema, "oban_workflow_verdict", cast(UPSTREAM.c.state, Text), EDGES.c.ignored)


def _xid() -> ColumnElement[int]:
    return cast(cast(func.pg_current_xact_id(), Text), BigInteger)


def _is_first() -> ColumnElement[bool]:
    """Of the notes that one statement makes, one has the transaction settle them."""
    return func.row_number().over() == literal_column("1")


def forget() -> Executable:
    """Deletes workflows, and their edges, that are older than `age` seconds and have no job left."""
    old = WORKFLOWS.c.inserted_at < now() - seconds(bindparam("age", type_=Float(53)))
    gone = (
        delete(WORKFLOWS)
        .where(old, not_(exists().where(JOBS.c.workflow_id == WORKFLOWS.c.id)))
        .returning(WORKFLOWS.c.id)
        .cte("gone")
    )
    edges = delete(EDGES).where(EDGES.c.workflow_id.in_(select(gone.c.id))).returning(EDGES.c.workflow_id).cte("edges")
    return select(gone.c.id, select(func.count()).select_from(edges).scalar_subquery())


def of_live_workflow() -> ColumnElement[bool]:
    """Whether a job is part of a workflow of which another has not ended."""
    return JOBS.c.workflow_id.is_not(None) & exists().where(
        LIVE.c.workflow_id == JOBS.c.workflow_id,
        LIVE.c.workflow_id.is_not(None),
        LIVE.c.state.in_([literal(state) for state in UNFINISHED]),
    )


SETTLE_NOW = text("SELECT oban_workflow_settle()")
PLACES = places()
