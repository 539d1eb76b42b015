"""Steering workflows: get, status, cancel, retry, put_context, to_mermaid."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.control.jobs import cancel as cancel_jobs
from sqla_oban.control.sessions import Sessions, placed
from sqla_oban.control.workflow_status import WorkflowStatus
from sqla_oban.errors import InvalidWorkflow, WorkflowNotFound, shown
from sqla_oban.models import JobMixin, Scope, Workflow, WorkflowMixin, workflow_of
from sqla_oban.models.mermaid import flowchart
from sqla_oban.models.workflow import EDGES, MAX_CONTEXT, checked_context
from sqla_oban.queries import workflow as asking
from sqla_oban.queries.expressions import JOBS
from sqla_oban.states import FINAL, JobState

T = TypeVar("T")


class Workflows:
    """`oban.workflows`: what can be asked of and done to workflows that are stored.

    A workflow is meant by its id or the `Workflow` itself. Every verb takes part in the transaction of `session` if one
    is given, and commits its own otherwise; what it ends or brings back is followed through the graph at the commit.

    >>> (await oban.workflows.status(workflow)).state  # doctest: +SKIP
    'executing'
    """

    def __init__(self, sessions: Sessions, scope: Scope) -> None:
        self._sessions = sessions
        self._scope = scope

    async def get(self, id: int, *, session: AsyncSession | None = None) -> Workflow | None:
        """The workflow of that id, or None. To add jobs to it, give the session that is to store them."""
        return await self._sessions.run(partial(get, id=_id(id), scope=self._scope), session)

    async def status(self, which: int | WorkflowMixin, *, session: AsyncSession | None = None) -> WorkflowStatus:
        """How many of its jobs are in which state, and since when and until when it ran.

        Raises:
            WorkflowNotFound: there is none.
        """
        return await self._run(status, which, session)

    async def cancel(self, which: int | WorkflowMixin, *, session: AsyncSession | None = None) -> int:
        """Cancel all of its jobs that have not ended, as `oban.jobs.cancel` does; returns how many these were.

        Raises:
            WorkflowNotFound: there is none.
        """
        return await self._run(partial(cancel, scope=self._scope), which, session)

    async def retry(self, which: int | WorkflowMixin, *, session: AsyncSession | None = None) -> int:
        """Bring back its jobs that were cancelled or discarded; returns how many. What is completed stays so.

        They wait for each other as before: those whose dependencies are completed run at once, the others after them.

        Raises:
            WorkflowNotFound: there is none.
        """
        return await self._run(retry, which, session)

    async def put_context(
        self, which: int | WorkflowMixin, values: Mapping[str, Any], *, session: AsyncSession | None = None
    ) -> None:
        """Put `values` over those of its context; jobs that begin later see them.

        Raises:
            WorkflowNotFound: there is none.
            InvalidWorkflow: the context would be too large.
            InvalidJob, UnserialisableValue: `values` are no JSON object.
        """
        await self._run(partial(put_context, values=checked_context(dict(values))), which, session)

    async def to_mermaid(self, which: int | WorkflowMixin, *, session: AsyncSession | None = None) -> str:
        """Its graph as a Mermaid flowchart, each job with its state.

        Raises:
            WorkflowNotFound: there is none.
        """
        return await self._run(to_mermaid, which, session)

    async def _run(
        self, verb: Callable[[Session, Workflow], T], which: int | WorkflowMixin, session: AsyncSession | None
    ) -> T:
        def work(own: Session) -> T:
            workflow = get(own, _id(which), self._scope)
            if workflow is None:
                raise WorkflowNotFound(f"there is no workflow {_id(which)}")
            return verb(own, workflow)

        return await self._sessions.run(work, session)


def get(session: Session, id: int, scope: Scope) -> Workflow | None:
    """The workflow as it is stored now, or None."""
    model = cast(type[Workflow], workflow_of(scope.model))
    return session.get(model, id, populate_existing=True, execution_options=placed(scope.model))


def status(session: Session, workflow: Workflow) -> WorkflowStatus:
    """How the workflow stands."""
    rows = session.execute(asking.status(), {"workflow": workflow.id}).all()
    jobs = {JobState(row.state): row.jobs for row in rows}
    began = [row.began for row in rows if row.began is not None]
    ended = [row.ended for row in rows if row.ended is not None]
    over = all(state in FINAL for state in jobs)
    return WorkflowStatus(
        id=workflow.id,
        name=workflow.name,
        jobs={state: jobs[state] for state in JobState if state in jobs},
        inserted_at=workflow.inserted_at,
        started_at=_utc(min(began, default=None)),
        ended_at=_utc(max(ended, default=None)) if over else None,
    )


def cancel(session: Session, workflow: Workflow, scope: Scope) -> int:
    """End what has not ended."""
    model: Any = scope.model
    return cancel_jobs(session, select(model).where(model.workflow_id == workflow.id), scope)


def retry(session: Session, workflow: Workflow) -> int:
    """Bring back what was cancelled or discarded."""
    changed = session.scalars(asking.retry(), {"workflow": workflow.id}).all()
    for one in session.identity_map.values():
        if isinstance(one, JobMixin) and one.__dict__.get("id") in changed:
            session.expire(one)
    return len(changed)


def put_context(session: Session, workflow: Workflow, values: Mapping[str, Any]) -> None:
    """Put values over those that are there, in one statement: of two who do so at once, both are heard."""
    asked = {"workflow": workflow.id, "values": json.dumps(values)}
    size = session.execute(asking.context_size(), asked).scalar_one()
    if size > MAX_CONTEXT:
        raise InvalidWorkflow(f"the context would take {size:,} bytes, more than {MAX_CONTEXT:,}")
    session.execute(asking.put_context(), asked)
    session.expire(workflow, ["context", "updated_at"])


def to_mermaid(session: Session, workflow: Workflow) -> str:
    """The stored graph."""
    jobs = select(JOBS.c.id, JOBS.c.workflow_name, JOBS.c.state).where(JOBS.c.workflow_id == workflow.id)
    edges = select(EDGES.c.upstream, EDGES.c.downstream_id).where(EDGES.c.workflow_id == workflow.id)
    found = session.execute(jobs.order_by(JOBS.c.id)).all()
    names = {row.id: str(row.workflow_name) for row in found}
    ordered = edges.order_by(EDGES.c.downstream_id, EDGES.c.upstream_id)
    arrows = [(one, names[other]) for one, other in session.execute(ordered) if other in names]
    return flowchart({str(row.workflow_name): row.state.value for row in found}, arrows)


def _id(which: object) -> int:
    identity = which.__dict__.get("id") if isinstance(which, WorkflowMixin) else which
    if isinstance(identity, bool) or not isinstance(identity, int):
        raise InvalidWorkflow(f"a workflow is meant by its id or the stored Workflow, got {shown(which)}")
    return identity


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
