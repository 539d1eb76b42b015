"""What a duplicate replaces of the job that is in its place."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Table

from sqla_oban.enqueue.duplicates import Duplicate, table_of
from sqla_oban.models import JobMixin
from sqla_oban.queries.unique import replace
from sqla_oban.states import JobState
from sqla_oban.unique import Unique

DEFAULTS: Final[Mapping[str, Any]] = {
    "args": {},
    "meta": {},
    "tags": [],
    "queue": "default",
    "priority": 0,
    "max_attempts": 20,
}
"""Of the table, for a duplicate that says nothing of a field."""


def replace_fields(connection: Connection, found: Iterable[Duplicate]) -> set[int]:
    """Write what the duplicates replace; returns the ids of stored jobs that this may have changed.

    In the order of these ids, so that two transactions that do so with the same jobs do not wait for each other.
    """
    stored: dict[Unique, list[tuple[int, JobMixin]]] = {}
    for job, original in found:
        if job.unique is None or not job.unique.replace:
            continue
        if isinstance(original, int):
            stored.setdefault(job.unique, []).append((original, job))
        else:
            _replace_pending(original, job, job.unique)
    for unique, some in stored.items():
        _replace_stored(connection, table_of(some[0][1]), unique, sorted(some, key=lambda one: one[0]))
    return {id_ for some in stored.values() for id_, _ in some}


def _replace_stored(connection: Connection, table: Table, unique: Unique, some: list[tuple[int, JobMixin]]) -> None:
    by_fields: dict[tuple[str, ...], list[JobState]] = {}
    for state, fields in unique.replace.items():
        by_fields.setdefault(fields, []).append(state)
    for fields, states in by_fields.items():
        rows = [{"of_job": id_, **_parameters(job, fields)} for id_, job in some]
        connection.execute(replace(table, fields, tuple(states)), rows)


def _parameters(job: JobMixin, fields: tuple[str, ...]) -> dict[str, Any]:
    held = job.__dict__
    values = {f"new_{name}": held.get(name, DEFAULTS.get(name)) for name in fields if name != "scheduled_at"}
    if "scheduled_at" in fields:
        values["new_scheduled_at"] = None if job.schedule_in is not None else held.get("scheduled_at")
        values["new_delay"] = 0.0 if job.schedule_in is None else job.schedule_in.total_seconds()
    return values


def _replace_pending(original: JobMixin, job: JobMixin, unique: Unique) -> None:
    """The same for one that is not inserted yet."""
    held = job.__dict__
    for name in unique.replace.get(original.__dict__.get("state") or JobState.AVAILABLE, ()):
        if name == "scheduled_at":
            _reschedule(original, job)
        else:
            setattr(original, name, held.get(name, DEFAULTS.get(name)))


def _reschedule(original: JobMixin, job: JobMixin) -> None:
    held = job.__dict__
    if "scheduled_at" in held:
        original.scheduled_at = held["scheduled_at"]
        original.schedule_in = job.schedule_in
    elif "scheduled_at" in original.__dict__:
        original.schedule_in = timedelta(0)
    original.state = held.get("state", JobState.AVAILABLE)
