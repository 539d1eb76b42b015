"""Jobs as the rows of one statement, and back."""

import json
from datetime import UTC
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import Mapper, make_transient_to_detached

from sqla_oban.enqueue.announce import remember
from sqla_oban.models import JobMixin
from sqla_oban.models.entity import stored
from sqla_oban.queries.expressions import JOBS
from sqla_oban.queries.insert import GIVEN, INSERT_JOBS
from sqla_oban.states import JobState


@lru_cache(maxsize=256)
def is_plain(mapper: Mapper[Any]) -> bool:
    """Whether jobs of a mapped class are rows of our table and nothing more."""
    return mapper.local_table is JOBS and len(mapper.columns) == len(JOBS.c) and not mapper.polymorphic_on


def insert_rows(target: Any, jobs: list[Any]) -> None:
    """Insert plain jobs by one statement."""
    rows = json.dumps([_row(ord_, job) for ord_, job in enumerate(jobs)], default=stored)
    inserted = sorted(target.execute(INSERT_JOBS, {"rows": rows}).all())
    for job, (id_, inserted_at, scheduled_at) in zip(jobs, inserted, strict=True):
        moments = {"inserted_at": inserted_at.replace(tzinfo=UTC), "scheduled_at": scheduled_at.replace(tzinfo=UTC)}
        job.__dict__.update(_defaults() | job.__dict__ | moments, id=id_)
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


def _defaults() -> dict[str, Any]:
    """What the table gives to a job that says nothing of it; made anew for each, because some of it can be changed."""
    return {
        "state": JobState.AVAILABLE,
        "queue": "default",
        "attempt": 0,
        "max_attempts": 20,
        "priority": 0,
        "args": {},
        "meta": {},
        "tags": [],
        "errors": [],
        "attempted_by": [],
        "attempted_at": None,
        "cancelled_at": None,
        "completed_at": None,
        "discarded_at": None,
        "unique_key": None,
        "unique_states": None,
        "unique_period": None,
    }
