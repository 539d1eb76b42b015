"""What a test may ask of stored jobs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, DateTime, cast, literal, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from sqla_oban.errors import UnknownOption
from sqla_oban.models import Job
from sqla_oban.models.checks import aware, checked_delay, checked_name, checked_number, checked_state, normal_tags
from sqla_oban.queries.expressions import JOBS, now
from sqla_oban.states import JobState
from sqla_oban.testing.names import AnyWorker, name_of
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
    found = [CONDITIONS[name](value) for name, value in filters.items()]
    if worker is not None:
        found.append(Job.worker == name_of(worker))
    if "state" not in filters:
        found.append(Job.state.in_(ENQUEUED))
    return found


def _at(value: object) -> ColumnElement[bool]:
    moment = aware("scheduled_at", value)
    return Job.scheduled_at.between(moment - TOLERANCE, moment + TOLERANCE)


def _in(value: float | timedelta) -> ColumnElement[bool]:
    """The delay began at the job's INSERT: after the beginning of its transaction (`inserted_at`), and before now."""
    delay = checked_delay(value)
    began = type_coerce(JOBS.c.scheduled_at, DateTime) - delay
    return began.between(type_coerce(JOBS.c.inserted_at, DateTime) - TOLERANCE, now() + TOLERANCE)


def _contains(field: str) -> Callable[[Any], ColumnElement[bool]]:
    return lambda value: JOBS.c[field].contains(cast(literal(json_object(field, value), JSONB), JSONB))


CONDITIONS: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
    "queue": lambda value: Job.queue == checked_name("queue", value),
    "args": _contains("args"),
    "meta": _contains("meta"),
    "tags": lambda value: Job.tags.contains(normal_tags(value)),
    "priority": lambda value: Job.priority == checked_number("priority", value),
    "state": lambda value: Job.state == checked_state(value),
    "scheduled_at": _at,
    "schedule_in": _in,
}
