"""Jobs as the rows of one statement, and back."""

import json
from collections.abc import Callable
from datetime import UTC
from functools import lru_cache
from typing import Any, Final

from sqlalchemy.orm import Mapper, make_transient_to_detached

from sqla_oban.enqueue.announce import remember
from sqla_oban.models import JobMixin
from sqla_oban.queries.expressions import JOBS
from sqla_oban.queries.insert import GIVEN, INSERT_JOBS
from sqla_oban.states import JobState

DEFAULTS: Final[dict[str, Callable[[], Any]]] = {
    "state": lambda: JobState.AVAILABLE,
    "queue": lambda: "default",
    "attempt": int,
    "max_attempts": lambda: 20,
    "priority": int,
    "args": dict,
    "meta": dict,
    "tags": list,
    "errors": list,
    "attempted_by": list,
    **dict.fromkeys(("attempted_at", "cancelled_at", "completed_at", "discarded_at"), lambda: None),
}
"""What the table gives to a job that says nothing of it."""


@lru_cache(maxsize=256)
def is_plain(mapper: Mapper[Any]) -> bool:
    """Whether jobs of a mapped class are rows of our table and nothing more."""
    return mapper.local_table is JOBS and len(mapper.columns) == len(JOBS.c) and not mapper.polymorphic_on


def insert_rows(target: Any, jobs: list[Any]) -> None:
    """Insert plain jobs by one statement."""
    rows = json.dumps([_row(ord_, job) for ord_, job in enumerate(jobs)])
    stored = sorted(target.execute(INSERT_JOBS, {"rows": rows}).all())
    for job, (id_, inserted_at, scheduled_at) in zip(jobs, stored, strict=True):
        held = job.__dict__
        for name, make in DEFAULTS.items():
            if name not in held:
                held[name] = make()
        held["id"] = id_
        held["inserted_at"] = inserted_at.replace(tzinfo=UTC)
        held["scheduled_at"] = scheduled_at.replace(tzinfo=UTC)
        make_transient_to_detached(job)
    remember(target, jobs)


def _row(ord_: int, job: JobMixin) -> dict[str, Any]:
    held = job.__dict__
    row = {name: held[name] for name in GIVEN if name in held}
    row["ord"] = ord_
    if job.schedule_in is not None:
        row["delay"] = job.schedule_in.total_seconds()
    elif "scheduled_at" in held:
        row["scheduled_at"] = held["scheduled_at"].astimezone(UTC).replace(tzinfo=None).isoformat()
    return row
