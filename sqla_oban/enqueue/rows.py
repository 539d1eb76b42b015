"""Jobs as the rows of one statement, and back."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import Executable, Table
from sqlalchemy.orm import Mapper, make_transient_to_detached
from sqlalchemy.orm.attributes import instance_state

from sqla_oban.enqueue.announce import remember
from sqla_oban.models import JobMixin
from sqla_oban.models.entity import stored
from sqla_oban.models.job import COLUMNS
from sqla_oban.queries.expressions import JOBS
from sqla_oban.queries.insert import GIVEN, Inserted, insert_jobs
from sqla_oban.states import JobState

DEFAULTS: Final[Mapping[str, Any]] = {
    "state": JobState.AVAILABLE,
    "queue": "default",
    "attempt": 0,
    "max_attempts": 20,
    "priority": 0,
    "attempted_at": None,
    "cancelled_at": None,
    "completed_at": None,
    "discarded_at": None,
    "unique_key": None,
    "unique_states": None,
    "unique_period": None,
    "partition": None,
    "weight": None,
    "workflow_id": None,
    "workflow_name": None,
    "awaited_until": None,
    "chain_key": None,
    "chain_hold": None,
    "chain_waits": None,
    "batch_id": None,
}
"""What the table gives to a job that says nothing of it."""
DEFAULT_CONTAINERS: Final[Mapping[str, Callable[[], Any]]] = {
    "args": dict,
    "meta": dict,
    "tags": list,
    "errors": list,
    "attempted_by": list,
}
"""The same, made anew for each job, because it can be changed."""
UNSAID: Final = frozenset(JOBS.c.keys()) - GIVEN.keys() - {"id", "scheduled_at"}
"""What the statement leaves to the table, and a job of another database, say, may bring along."""


class Shape(NamedTuple):
    """What jobs that say the same things of themselves say, and what they leave to the table."""

    given: tuple[str, ...]
    defaults: dict[str, Any]
    containers: tuple[tuple[str, Callable[[], Any]], ...]


def is_row(job: JobMixin) -> bool:
    """Whether the statement can say all that a job says of itself."""
    return is_plain(instance_state(job).mapper) and UNSAID.isdisjoint(job.__dict__)


@lru_cache(maxsize=256)
def is_plain(mapper: Mapper[Any]) -> bool:
    """Whether jobs of a mapped class are rows of a table like ours and nothing more."""
    table: Any = mapper.local_table
    return table.name == JOBS.name and set(mapper.column_attrs.keys()) == COLUMNS and not mapper.polymorphic_on


def insert_rows(target: Any, jobs: list[Any]) -> None:
    """Insert plain jobs by one statement, or one for each run of jobs for the same table."""
    for table, some in groupby(jobs, lambda job: instance_state(job).mapper.local_table):
        _insert(target, table, list(some))


def _insert(target: Any, table: Any, jobs: list[Any]) -> None:
    shapes = [_shape(tuple(job.__dict__)) for job in jobs]
    rows = [_row(ord_, job, shapes[ord_].given) for ord_, job in enumerate(jobs)]
    inserted = _sent(target, table, rows)
    for job, shape, id_, inserted_at, scheduled_at in zip(jobs, shapes, *inserted, strict=True):
        held = job.__dict__
        held["id"], held["inserted_at"], held["scheduled_at"] = id_, _utc(inserted_at), _utc(scheduled_at)
        held.update(shape.defaults)
        for name, make in shape.containers:
            held[name] = make()
        _mark_stored(job)
    remember(target, jobs)


def _sent(target: Any, table: Table, rows: list[dict[str, Any]]) -> Inserted:
    said = frozenset(name for some in {tuple(row) for row in rows} for name in some)
    sent = {"rows": json.dumps(rows, default=stored)}
    return Inserted._make(target.execute(_statement(table, said), sent).one())


@lru_cache(maxsize=256)
def _statement(table: Table, said: frozenset[str]) -> Executable:
    return insert_jobs(table, said)


def _row(ord_: int, job: JobMixin, given: tuple[str, ...]) -> dict[str, Any]:
    held = job.__dict__
    row = {name: held[name] for name in given}
    row["ord"] = ord_
    if job.schedule_in is not None:
        row["delay"] = job.schedule_in.total_seconds()
    elif "scheduled_at" in held:
        row["scheduled_at"] = held["scheduled_at"].astimezone(UTC).replace(tzinfo=None).isoformat()
    return row


@lru_cache(maxsize=256)
def _shape(held: tuple[str, ...]) -> Shape:
    return Shape(
        given=tuple(name for name in GIVEN if name in held),
        defaults={name: value for name, value in DEFAULTS.items() if name not in held},
        containers=tuple((name, make) for name, make in DEFAULT_CONTAINERS.items() if name not in held),
    )


@lru_cache(maxsize=64)
def _utc(moment: datetime) -> datetime:
    """Aware; jobs that are inserted together share their moments."""
    return moment.replace(tzinfo=UTC)


def _mark_stored(job: JobMixin) -> None:
    """Have the session take it as a row that is there.

    `make_transient_to_detached` does the same for any object, in ten times as long: it forgets the history of what was
    set, which a job made by `new` does not have, and lets go of what is not loaded, of which nothing is left here.
    """
    state = instance_state(job)
    if state.modified:
        make_transient_to_detached(job)
    else:
        state.key = state.mapper.identity_key_from_primary_key((job.id,))
