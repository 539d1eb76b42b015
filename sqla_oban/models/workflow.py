"""A workflow: jobs that wait for each other, stored as one graph with the transaction that wanted it."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, TypeVar, cast

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Identity,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, Mapper, declared_attr, mapped_column, validates
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.elements import conv

from sqla_oban.errors import InvalidWorkflow, shown
from sqla_oban.models.base import UTC_NOW, ObanBase, UTCDateTime, metadata, schema_of
from sqla_oban.models.checks import checked_name, checked_object
from sqla_oban.models.graph import Deps, Endings, Graph, Node, endings
from sqla_oban.models.job import Job, JobMixin
from sqla_oban.models.mermaid import flowchart
from sqla_oban.models.unique_key import is_unique
from sqla_oban.states import JobState

J = TypeVar("J", bound=JobMixin)

MAX_CONTEXT = 1_000_000
"""Bytes of a context as JSON: each job of the workflow reads it before it runs."""
MARK = "workflow_job"
"""The key in a job's meta for its name in its workflow: it says that there is one, and a claim reads meta anyway."""


def is_alone(job: JobMixin) -> bool:
    """Whether a job is part of a workflow that is not stored with it: it would wait for ever for what is not there."""
    held = job.__dict__
    return held.get("workflow_name") is not None and held.get("workflow_id") is None


def edges_of(home: MetaData, schema: str | None = None) -> Table:
    """The table of dependencies, in `home`."""
    return Table(
        "oban_workflow_edges",
        home,
        Column("workflow_id", BigInteger, nullable=False),
        Column("upstream_id", BigInteger, nullable=False),
        Column("downstream_id", BigInteger, nullable=False),
        Column("upstream", Text, nullable=False),
        Column("ignored", ARRAY(Text), nullable=False, server_default=text("ARRAY[]::text[]")),
        Column("state", Text, nullable=False, server_default="open"),
        Column("cancelled_at", UTCDateTime),
        PrimaryKeyConstraint("workflow_id", "upstream_id", "downstream_id", name=conv("oban_workflow_edges_pkey")),
        Index(conv("oban_workflow_edges_downstream_index"), "downstream_id", "upstream_id"),
        Index(
            conv("oban_workflow_edges_broken_index"), "downstream_id", postgresql_where=text("state = 'broken'::text")
        ),
        schema=schema,
        info={"sqla_oban": 1},
    )


EDGES = edges_of(metadata)


class WorkflowMixin:
    """Columns of a workflow, and its graph as long as that is not stored; the concrete class names the table."""

    job_class: ClassVar[type[JobMixin]]
    """The class of the jobs beside it: they are stored in the same schema."""
    graph = cast(Graph, None)
    """What was added to this very object."""
    written = cast(set[str], None)
    """The names of it that are stored."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), sort_order=-12)
    name: Mapped[str] = mapped_column(Text, sort_order=-11)
    context: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"), sort_order=-10)
    inserted_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW, sort_order=-10)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW, sort_order=-10)

    def __init__(self, *, name: str, context: Mapping[str, Any] | None = None, ignore: Endings = ()) -> None:
        # Declarative's own constructor sets the columns; it sees only what is mapped.
        base: Any = super()
        base.__init__(name=name, context=context or {})
        self._ignore = endings(ignore)
        self.graph = Graph()
        self.written = set()

    def __repr__(self) -> str:
        held = self.__dict__  # what is loaded: a repr must not emit SQL
        parts = [f"{name}={held[name]!r}" for name in ("id", "name") if name in held]
        return f"<{type(self).__name__} {' '.join(parts)}>"

    @declared_attr.directive
    def __table_args__(cls) -> tuple[SchemaItem | dict[str, object], ...]:  # noqa: N805 (a directive is called with the class)
        key = PrimaryKeyConstraint("id", name=conv("oban_workflows_pkey"))
        return (key, {"info": {"sqla_oban": 1}, "schema": schema_of(cls)})

    @property
    def jobs(self) -> dict[str, Any]:
        """The jobs that were added to this very object, by their names. As after `insert_all`, no session has them."""
        return {name: node.job for name, node in self.graph.nodes.items()}

    @property
    def pending(self) -> list[Node]:
        """What was added and is not stored yet."""
        return [node for name, node in self.graph.nodes.items() if name not in self.written]

    def add(self, name: str, job: J, *, deps: Deps = (), ignore: Endings | None = None) -> J:
        """Add a job; it waits, `suspended`, until all of `deps` have ended.

        To a workflow that is stored, as from inside a running job of it, jobs can be added as well: they are stored
        with the next flush, and `deps` may name jobs that are stored.

        Args:
            name: its name in the workflow; up to 255 characters, without dots.
            job: what a worker's `new` returns. When it may run, it still waits for its `scheduled_at`.
            deps: the names of jobs and sub-workflows that were added before, each possibly as an `After`.
            ignore: with which ends of its dependencies it runs all the same: any of "cancelled", "discarded" and
                "deleted"; default: those of the workflow. With others than these it is cancelled, with the reason.

        Returns:
            The job.

        Raises:
            InvalidWorkflow: the name is taken or none, a dependency is unknown, or `job` is none that can be added.

        >>> workflow = Workflow(name="import")
        >>> workflow.add("extract", Job(worker="app.extract"))
        <Job worker='app.extract'>
        >>> load = workflow.add("load", Job(worker="app.load"), deps=["extract"])
        """
        self._check_job(name, job)
        self.graph.stored = instance_state(self).key is not None
        self.graph.add(name, job, deps, self._ignore if ignore is None else ignore)
        self._adopt(name)
        self._touch()
        return job

    def add_workflow(
        self, name: str, workflow: "WorkflowMixin", *, deps: Deps = (), ignore: Endings | None = None
    ) -> None:
        """Add all jobs of another workflow, which becomes a part of this one and is not to be stored itself.

        Its jobs are called `name.job` here; those that wait for nothing wait for `deps`. Whoever depends on `name`
        waits for its last jobs. Its context is found under `name` in this one's.

        Raises:
            InvalidWorkflow: the name is taken, a dependency is unknown, or `workflow` is empty or stored already.

        >>> pages = Workflow(name="pages")
        >>> page = pages.add("one", Job(worker="app.page"))
        >>> workflow = Workflow(name="site")
        >>> workflow.add_workflow("pages", pages)
        >>> publish = workflow.add("publish", Job(worker="app.publish"), deps=["pages"])
        """
        if not isinstance(cast(object, workflow), WorkflowMixin) or workflow is self:
            raise InvalidWorkflow(f"add_workflow() takes another Workflow, got {shown(workflow)}")
        state: Any = instance_state(workflow)
        if state.key is not None or state.session_id is not None:
            raise InvalidWorkflow(f"{workflow!r} is stored or in a session, so it cannot become a part of another")
        self.graph.stored = instance_state(self).key is not None
        self.graph.add_graph(name, workflow.graph, deps, self._ignore if ignore is None else ignore)
        for one in workflow.graph.nodes:
            self._adopt(f"{name}.{one}")
        if workflow.context:
            self.context = {**self.context, name: workflow.context}
        self._touch()

    def to_mermaid(self) -> str:
        """What was added to this very object, as a Mermaid flowchart.

        >>> workflow = Workflow(name="import")
        >>> extract = workflow.add("extract", Job(worker="app.extract"))
        >>> load = workflow.add("load", Job(worker="app.load"), deps=["extract"])
        >>> print(workflow.to_mermaid())
        flowchart TD
            n0["extract"]
            n1["load"]
            n0 --> n1
        """
        nodes = self.graph.nodes
        return flowchart(dict.fromkeys(nodes), [(dep, name) for name in nodes for dep in nodes[name].deps])

    def _check_job(self, name: object, job: object) -> None:
        if not isinstance(job, JobMixin):
            raise InvalidWorkflow(f"a workflow is made of jobs, as a worker's new() makes them, got {shown(job)}")
        state = instance_state(job)
        if state.key is not None or state.session_id is not None:
            raise InvalidWorkflow(f"{job!r} is stored or in a session already; a workflow takes new jobs")
        if is_unique(job):
            raise InvalidWorkflow(f"{name!r} cannot be unique: as a duplicate it would be missing; use unique=False")
        if job.__dict__.get("workflow_name") is not None:
            raise InvalidWorkflow(f"{name!r} is part of a workflow already, as {job.workflow_name!r}; make another job")
        if job.__table__.schema != self.__table__.schema:  # type: ignore[attr-defined]
            raise InvalidWorkflow(f"{job!r} is of another schema than {type(self).__qualname__}; both must be of one")

    def _adopt(self, name: str) -> None:
        """Its job says of itself what it will be: it is stored like any other."""
        node = self.graph.nodes[name]
        node.job.workflow_name = name
        node.job.meta = {**(node.job.__dict__.get("meta") or {}), MARK: name}
        if node.deps:
            node.job.state = JobState.SUSPENDED

    def _touch(self) -> None:
        """A flush passes over a stored object of which nothing has changed; and who adds locks the row."""
        if self.graph.stored:
            self.updated_at = func.timezone("UTC", func.clock_timestamp())

    @validates("name")
    def _check_name(self, field: str, value: object) -> str:
        return checked_name(field, value)

    @validates("context")
    def _check_context(self, field: str, value: object) -> dict[str, Any]:
        return checked_context(value)


def checked_context(value: object) -> dict[str, Any]:
    """A context that each job of a workflow can be given.

    Raises:
        InvalidJob, UnserialisableValue: it is no JSON object.
        InvalidWorkflow: it is too large.
    """
    context = checked_object("context", value)
    if (size := len(json.dumps(context, ensure_ascii=False).encode())) > MAX_CONTEXT:
        raise InvalidWorkflow(
            f"the context takes {size:,} bytes, more than {MAX_CONTEXT:,}, and each job reads it; keep the data in a "
            "table of yours and its key in the context"
        )
    return context


class Workflow(WorkflowMixin, ObanBase):
    """Jobs that wait for each other: `session.add(workflow)` stores all of it with the transaction.

    Args:
        name: what kind of workflow it is; 1 to 127 characters.
        context: JSON values that each of its jobs finds as `current_job().context`.
        ignore: with which ends of what they depend on its jobs run all the same: any of "cancelled", "discarded" and
            "deleted"; default: none, so that they are cancelled. `add` can say otherwise.

    Raises:
        InvalidWorkflow: an argument is none.

    >>> Workflow(name="import", context={"day": "2026-11-25"})
    <Workflow name='import'>
    """

    __tablename__ = "oban_workflows"
    job_class = Job


@event.listens_for(WorkflowMixin, "load", propagate=True)
def _loaded(workflow: WorkflowMixin, _: object) -> None:
    """A stored one is not made by its constructor."""
    workflow._ignore = ()  # noqa: SLF001 (its constructor in all but name)
    workflow.graph = Graph()
    workflow.written = set()


@event.listens_for(WorkflowMixin, "before_insert", propagate=True)
def _begin(_: Mapper[Any], __: Connection, workflow: WorkflowMixin) -> None:
    """What was rolled back and is added again holds the id of its first INSERT, and none of its jobs is stored."""
    workflow.id = None  # type: ignore[assignment]  # unset, until the INSERT returns it
    workflow.written.clear()
