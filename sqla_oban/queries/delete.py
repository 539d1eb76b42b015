"""Delete jobs on request."""

from typing import Any

from sqlalchemy import Executable, Select
from sqlalchemy import delete as deletion

from sqla_oban.queries.expressions import JOBS, literal
from sqla_oban.queries.lock import locked
from sqla_oban.states import JobState


def delete(ids: Select[Any]) -> Executable:
    """Deletes those of `ids` that are not running; returns the deleted."""
    chosen = locked(ids)
    return (
        deletion(JOBS).where(JOBS.c.id == chosen.c.id, JOBS.c.state != literal(JobState.EXECUTING)).returning(JOBS.c.id)
    )
