"""How a workflow stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqla_oban.states import UNFINISHED, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStatus:
    """How a workflow stands at one moment.

    Args:
        id, name: which.
        jobs: how many of its jobs are in each state; those that are in none of its jobs are left out.
        inserted_at: when it was stored.
        started_at: when the first of its jobs began that is still stored; None before.
        ended_at: when the last of them ended; None while it goes on.
    """

    id: int
    name: str
    jobs: Mapping[JobState, int]
    inserted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def total(self) -> int:
        """How many jobs it has."""
        return sum(self.jobs.values())

    @property
    def state(self) -> str:
        """One word for it: "executing" while a job has not ended, then "completed", "discarded" or "cancelled".

        It is discarded if one of its jobs failed for good, and else cancelled if one was.
        """
        if any(state in self.jobs for state in UNFINISHED):
            return "executing"
        return next(
            (state.value for state in (JobState.DISCARDED, JobState.CANCELLED) if state in self.jobs), "completed"
        )

    @property
    def duration(self) -> timedelta | None:
        """From the first job's beginning to the last one's end; None while it goes on or has not begun."""
        return None if self.started_at is None or self.ended_at is None else self.ended_at - self.started_at
