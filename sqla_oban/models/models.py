"""The mapped classes for one set of tables, on the library's base or on one of the application's."""

import sys
from dataclasses import dataclass
from types import new_class
from typing import Any, NamedTuple

from sqlalchemy import Table
from sqlalchemy.orm import DeclarativeBase, class_mapper, registry

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.models.job import Job, JobMixin
from sqla_oban.models.peer import Peer, PeerMixin
from sqla_oban.models.workflow import Workflow, WorkflowMixin


class Models(NamedTuple):
    """What a runner makes of its rows: `SqlaOban(engine, models=...)`. The library's own by default.

    Attributes:
        Job: the class of its jobs; with `make_models`, or a subclass of it or of `sqla_oban.Job` with columns more.
        Peer: that of the lease.

    >>> SqlaOban(engine, models=Models(TenantJob))  # doctest: +SKIP
    """

    Job: type[JobMixin] = Job
    Peer: type[PeerMixin] = Peer

    @property
    def Workflow(self) -> type[WorkflowMixin]:  # noqa: N802 (a class, like the fields)
        """The class of their workflows."""
        return workflow_of(self.Job)


WORKFLOW = "sqla_oban_workflow"
"""Where a table of jobs keeps the class of its workflows; a dictionary of ours would keep all of them alive."""


def workflow_of(model: type[JobMixin]) -> type[WorkflowMixin]:
    """The class of workflows that lies beside a class of jobs."""
    workflow: type[WorkflowMixin] = table_of(model).info[WORKFLOW]
    return workflow


def make_models(base: type[Any] | registry, *, schema: str | None = None) -> Models:
    """Map the tables on a base of the application's: in its MetaData, and known to its registry by their names.

    Strings can then refer to them, as in `ForeignKey("jobs.oban_jobs.id")` and `relationship("Job")`; where a base has
    several sets, the class itself says which `Job`. The classes are plain ones, whatever the base makes of its own: no
    dataclasses, no models of pydantic's.

    The tables come from `migrate(connection, schema=...)` or the host's alembic, as those of `sqla_oban.metadata`.
    `MetaData.create_all` would make them without their functions and triggers; it passes over those that are there.

    Args:
        base: a class made by DeclarativeBase, with or without MappedAsDataclass, or by `declarative_base()`;
            `SQLModel`; one of advanced-alchemy's; or a registry.
        schema: of the tables; default: that of the base's MetaData, if it has one, else where the search path finds
            them.

    Raises:
        ConfigurationError: `base` is no such thing, or its MetaData has the tables of this schema already.

    >>> class Base(DeclarativeBase): ...
    >>> Job, Peer = make_models(Base, schema="jobs")
    >>> Job(worker="app.mail.send_welcome")
    <Job worker='app.mail.send_welcome'>

    What it returns has the class of their workflows besides: `make_models(Base).Workflow`.
    """
    home = _home(base)
    place = home.metadata.schema if schema is None else schema
    if (f"{place}.oban_jobs" if place else "oban_jobs") in home.metadata.tables:
        where = f"the schema {place!r}" if place else "no schema"
        raise ConfigurationError(
            f"the MetaData of {shown(base)} has the tables for {where} already; use that class, or another schema"
        )
    module = str(sys._getframe(1).f_globals.get("__name__", __name__))  # noqa: SLF001 (as namedtuple does)
    job = _mapped("Job", JobMixin, home, "oban_jobs", place, module)
    peer = _mapped("Peer", PeerMixin, home, "oban_peers", place, module)
    workflow = _mapped("Workflow", WorkflowMixin, home, "oban_workflows", place, module)
    workflow.job_class = job
    table_of(job).info[WORKFLOW] = workflow
    return Models(job, peer)


def table_of(model: type[JobMixin]) -> Table:
    """The table of jobs that a class is mapped to; of one that is joined to it by inheritance, still that of jobs.

    Mappers are not configured for it: a runner may be made before all of the application's models are imported.
    """
    base = class_mapper(model, configure=False).base_mapper
    table: Table = base.local_table  # type: ignore[assignment]  # declared as any FROM clause
    return table


@dataclass(frozen=True, slots=True)
class Scope:
    """The jobs of one set of tables.

    Args:
        model: what they are loaded as.
        schema: where the tables are; None for the search path's. It counts where the class names none, or another that
            a `schema_translate_map` leads here.
    """

    model: type[JobMixin] = Job
    schema: str | None = None

    @classmethod
    def of(cls, engine: Any, schema: str | None, models: object) -> "Scope":
        """What an engine finds.

        Args:
            engine: one with `get_execution_options`.
            schema: what was said of it; default: that of the class, or where the engine's `schema_translate_map` leads.
            models: the Models; None for the library's own.

        Raises:
            ConfigurationError: `models` are none, or their tables are in another schema than `schema`.
        """
        if not isinstance(models, Models | None):
            raise ConfigurationError(f"models must be what make_models() returns, got {shown(models)}")
        model = (models or Models()).Job
        declared = table_of(model).schema
        found = (engine.get_execution_options().get("schema_translate_map") or {}).get(declared, declared)
        if schema is None or schema == found:
            return cls(model, found)
        if declared is not None:
            raise ConfigurationError(f"schema={schema!r} was given with models of the schema {found!r}; leave it out")
        return cls(model, schema)

    def holds(self, model: type[JobMixin]) -> bool:
        """Whether rows of a mapped class are these jobs."""
        table, own = table_of(model), table_of(self.model)
        return table.name == own.name and table.schema in (own.schema, self.schema)


def _home(base: Any) -> type[DeclarativeBase]:
    """A plain base on the registry and the MetaData of another, whose own rules for classes are left aside."""
    found = base if isinstance(base, registry) else getattr(base, "_sa_registry", None)
    if not isinstance(found, registry):
        raise ConfigurationError(f"make_models() takes a declarative base or a registry, got {shown(base)}")
    metadata = getattr(base, "metadata", found.metadata)
    return new_class(
        "ObanHome", (DeclarativeBase,), exec_body=lambda body: body.update(registry=found, metadata=metadata)
    )


def _mapped(name: str, mixin: type[Any], home: type[Any], table: str, schema: str | None, module: str) -> type[Any]:
    """A class on `home`.

    While it is mapped it says that it is of a module named like the schema: SQLAlchemy warns of a second class of the
    same name and module. Afterwards it is of the module that asked for it, where pickle looks for it.
    """
    body = {
        "__tablename__": table,
        "__oban_schema__": schema,
        "__module__": f"{module}.{schema}" if schema else module,
        "__doc__": mixin.__doc__,
    }
    made = new_class(name, (mixin, home), exec_body=lambda namespace: namespace.update(body))
    made.__module__ = module
    return made


table_of(Job).info[WORKFLOW] = Workflow
