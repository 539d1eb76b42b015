"""What a test may ask of stored jobs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, DateTime, cast, literal, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from sqla_oban.errors import UnknownOption
from sqla_oban.models import Job
from sqla_oban.models.checks import (
    aware,
    checked_args,
    checked_delay,
    checked_name,
    checked_number,
    checked_state,
    normal_tags,
)
from sqla_oban.models.entity import Args
from sqla_oban.queries.expressions import JOBS, now
from sqla_oban.states import JobState
from sqla_oban.testing.names import AnyWorker, name_of
from sqla_oban.workers import REGISTRY
from sqla_oban.workers.options import json_object

ENQUEUED = (JobState.AVAILABLE, JobState.SCHEDULED, JobState.SUSPENDED)
"""The states of a job that has not run yet."""
TOLERANCE = timedelta(seconds=1)
"""How far a moment may be off."""


class Filters(TypedDict, total=False):
    """What jobs are looked for by, named as the options that they were made with."""

    queue: str
    args: Mapping[str, Any]
    meta: Mapping[str, Any]
    tags: Sequence[str]
    priority: int
    state: JobState | str
    scheduled_at: datetime
    schedule_in: float | timedelta


def conditions(worker: AnyWorker | None, filters: Mapping[str, Any], where: str) -> list[ColumnElement[bool]]:
    """The conditions on the jobs that are looked for; without a `state`, those that have not run yet.

    Raises:
        UnknownOption: there is no such filter.
        InvalidArguments, InvalidJob, UnserialisableValue: no job could have such a value.
    """
    for name in filters:
        if name not in CONDITIONS:
            raise UnknownOption(name, CONDITIONS, where)
    named = None if worker is None else name_of(worker)
    found = [CONDITIONS[name](value) for name, value in _encoded(named, filters).items()]
    if named is not None:
        found.append(Job.worker == named)
    if "state" not in filters:
        found.append(Job.state.in_(ENQUEUED))
    return found


def _encoded(worker: str | None, filters: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the args as the worker stores them; it may be one that this process does not know."""
    args = filters.get("args")
    if worker is None or worker not in REGISTRY or not isinstance(args, Mapping):
        return filters
    return {**filters, "args": REGISTRY.get(worker).encode(args)}


def _args(value: object) -> ColumnElement[bool]:
    """The key of an entity is read when the statement executes: what is pending is flushed right before."""
    args = checked_args(dict(value) if isinstance(value, Mapping) else value)
    return JOBS.c.args.contains(cast(literal(args, Args()), JSONB))


def _at(value: object) -> ColumnElement[bool]:
    moment = aware("scheduled_at", value)
    return Job.scheduled_at.between(moment - TOLERANCE, moment + TOLERANCE)


def _in(value: float | timedelta) -> ColumnElement[bool]:
    """The delay began at the job's INSERT: after the beginning of its transaction (`inserted_at`), and before now."""
    delay = checked_delay(value)
    began = type_coerce(JOBS.c.scheduled_at, DateTime) - delay
    return began.between(type_coerce(JOBS.c.inserted_at, DateTime) - TOLERANCE, now() + TOLERANCE)


def _meta(value: object) -> ColumnElement[bool]:
    return JOBS.c.meta.contains(cast(literal(json_object("meta", value), JSONB), JSONB))


CONDITIONS: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
    "queue": lambda value: Job.queue == checked_name("queue", value),
    "args": _args,
    "meta": _meta,
    "tags": lambda value: Job.tags.contains(normal_tags(value)),
    "priority": lambda value: Job.priority == checked_number("priority", value),
    "state": lambda value: Job.state == checked_state(value),
    "scheduled_at": _at,
    "schedule_in": _in,
}
