"""Workflows through the unit of work: the graph is stored with the flush that stores its row.

Whatever its size, a graph is three statements: its row, its jobs (one for each 20,000 of them), its edges. What is
wrong with it is found before anything is sent, so that the session stays usable.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import MetaData, Table, event
from sqlalchemy.orm import Session, SessionTransaction, UOWTransaction, class_mapper, make_transient
from sqlalchemy.orm.attributes import instance_state

from sqla_oban.enqueue.announce import open_savepoints
from sqla_oban.enqueue.insert import insert_all
from sqla_oban.errors import InvalidWorkflow
from sqla_oban.models import JobMixin, WorkflowMixin, table_of
from sqla_oban.models.workflow import EDGES, edges_of, is_alone
from sqla_oban.queries.workflow import insert_edges, names, note

WRITTEN = "sqla_oban.workflows"
"""Where a session keeps what it has stored of workflows in a transaction that may be rolled back."""


class Written(NamedTuple):
    """Jobs that were stored as a part of a workflow, and in which savepoints."""

    workflow: WorkflowMixin
    names: list[str]
    savepoints: tuple[SessionTransaction, ...]


def _unwritten(session: Session) -> Iterator[WorkflowMixin]:
    for one in (*session.new, *session.dirty):
        if isinstance(one, WorkflowMixin) and one.pending:
            yield one


@event.listens_for(Session, "before_flush")
def _check(session: Session, _: UOWTransaction, __: object) -> None:
    for workflow in _unwritten(session):
        for node in workflow.pending:
            if instance_state(node.job).session_id is not None:
                raise InvalidWorkflow(
                    f"the job {node.name!r} of {workflow!r} is in a session: add the workflow alone, it brings its jobs"
                )
        if instance_state(workflow).key is not None:
            _known(session, workflow)
    for one in session.new:
        if isinstance(one, JobMixin) and is_alone(one):
            raise InvalidWorkflow(f"{one!r} is {one.workflow_name!r} of a workflow that is not added: add that instead")


@event.listens_for(Session, "after_flush")
def _store(session: Session, _: UOWTransaction) -> None:
    for workflow in list(_unwritten(session)):
        if workflow.__dict__.get("id") is not None:  # else it was not among those that flush() was given
            _store_one(session, workflow)


def _store_one(session: Session, workflow: WorkflowMixin) -> None:
    """The jobs, then their edges, which need the ids of both ends."""
    nodes, is_new = workflow.pending, instance_state(workflow).key is None
    stored = {} if is_new else _known(session, workflow)
    for node in nodes:
        if instance_state(node.job).key is not None:  # of a flush that was rolled back
            make_transient(node.job)
        node.job.workflow_id = workflow.id
    insert_all(session, [node.job for node in nodes])
    ids = {**stored, **{node.name: node.job.id for node in nodes}}
    edges = [
        {
            "workflow_id": workflow.id,
            "upstream_id": ids[dep],
            "downstream_id": node.job.id,
            "upstream": dep,
            "ignored": list(ignored),
        }
        for node in nodes
        for dep, ignored in node.deps.items()
    ]
    connection = session.connection({"mapper": class_mapper(type(workflow))})
    schema = _schema(workflow)
    if edges:
        connection.execute(insert_edges(_edges(schema)), {"rows": json.dumps(edges)})
    if stored and edges:
        connection.execute(note(schema), {"workflow": workflow.id, "ids": sorted(stored.values())})
    _remember(session, workflow, [node.name for node in nodes])


def _known(session: Session, workflow: WorkflowMixin) -> Mapping[str, int]:
    """The ids of the jobs of a stored workflow on which new ones depend.

    Raises:
        InvalidWorkflow: there is no such job, or a new one has the name of a stored one.
    """
    new = {node.name for node in workflow.pending}
    needed = {dep for node in workflow.pending for dep in node.deps if dep not in new}
    connection = session.connection({"mapper": class_mapper(type(workflow))})
    asked = {"workflow": workflow.id, "names": sorted(new | needed)}
    found = {row[0]: row[1] for row in connection.execute(names(table_of(workflow.job_class)), asked)}
    if taken := sorted(new & found.keys()):
        raise InvalidWorkflow(f"{workflow!r} has {taken[0]!r} already; give each of its jobs a name of its own")
    if missing := sorted(needed - found.keys()):
        raise InvalidWorkflow(f"a job of {workflow!r} depends on {missing[0]!r}, which the workflow does not have")
    return found


def _schema(workflow: WorkflowMixin) -> str | None:
    schema: str | None = workflow.__table__.schema  # type: ignore[attr-defined]  # the concrete class has it
    return schema


@lru_cache(maxsize=64)
def _edges(schema: str | None) -> Table:
    return EDGES if schema is None else edges_of(MetaData(), schema)


def _remember(session: Session, workflow: WorkflowMixin, stored: list[str]) -> None:
    workflow.written.update(stored)
    written: list[Any] = session.info.setdefault(WRITTEN, [])
    written.append(Written(workflow, stored, tuple(open_savepoints(session))))


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    """What was rolled back is to be stored again, should the workflow still be in the session or come back."""
    kept = []
    for one in session.info.pop(WRITTEN, []):
        if transaction.nested and transaction not in one.savepoints:
            kept.append(one)
        else:
            one.workflow.written.difference_update(one.names)
    if kept:
        session.info[WRITTEN] = kept


@event.listens_for(Session, "after_transaction_end")
def _end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(WRITTEN, None)
