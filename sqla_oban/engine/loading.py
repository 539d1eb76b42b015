"""From a claimed row to a mapped `Job`, for workers that want one."""

import json
from datetime import UTC, datetime

from sqlalchemy.orm import class_mapper, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from sqla_oban.models import Job
from sqla_oban.queries.claim import Claimed
from sqla_oban.states import JobState

LATEST = datetime.max.replace(tzinfo=UTC)
EARLIEST = datetime.min.replace(tzinfo=UTC)


def load(claimed: Claimed, *, queue: str, holder: list[str]) -> Job:
    """The job as it is stored, detached: it can be added to a session or merged into one."""
    job: Job = class_mapper(Job).class_manager.new_instance()
    values = {
        "id": claimed.id,
        "state": JobState.EXECUTING,
        "queue": queue,
        "worker": claimed.worker,
        "attempt": claimed.attempt,
        "max_attempts": claimed.max_attempts,
        "priority": claimed.priority,
        "args": json.loads(claimed.args),
        "meta": json.loads(claimed.meta),
        "tags": claimed.tags,
        "errors": json.loads(claimed.errors),
        "attempted_by": list(holder),
        "inserted_at": moment(claimed.inserted_at),
        "scheduled_at": moment(claimed.scheduled_at),
        "attempted_at": claimed.attempted_at.replace(tzinfo=UTC),
        "cancelled_at": None,
        "completed_at": None,
        "discarded_at": None,
    }
    for name, value in values.items():
        set_committed_value(job, name, value)
    make_transient_to_detached(job)
    return job


def moment(text: str) -> datetime:
    """A timestamp of PostgreSQL as an aware datetime; beyond Python's calendar it becomes the nearest end of that.

    >>> moment("2026-11-23 19:00:00.5").isoformat()
    '2026-11-23T19:00:00.500000+00:00'
    >>> moment("20000-01-01 00:00:00") == LATEST
    True
    """
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return EARLIEST if text == "-infinity" or text.endswith("BC") else LATEST
