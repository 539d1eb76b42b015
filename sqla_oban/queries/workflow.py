"""Store, read and bring back the graphs of workflows."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Select,
    Text,
    bindparam,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    not_,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from sqla_oban.models import Workflow
from sqla_oban.models.note import NOTES
from sqla_oban.models.workflow import EDGES
from sqla_oban.outcomes import RESULT
from sqla_oban.queries.expressions import JOBS, constant, in_states, literal, now, object_or_empty, parallel, seconds
from sqla_oban.queries.notes import NOTED, is_first, xid
from sqla_oban.queries.retry import MOST_ATTEMPTS, without_request
from sqla_oban.states import UNFINISHED, JobState

WORKFLOWS: Any = Workflow.__table__
LIVE = JOBS.alias("live")


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
    notes = select(xid(), bindparam("workflow", type_=BigInteger), job.c.id, is_first())
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


PLACES = places()
