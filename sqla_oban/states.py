"""The states of a job and every way from one to the next.

`TRANSITIONS` is the only place that says which moves exist: the statements in `queries` are tested against it, and
the diagram in `docs/architecture.md` is generated from it (`python -m sqla_oban.states`).
"""

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """Where a job is in its life; stored by value in PostgreSQL's enum `oban_job_state`."""

    AVAILABLE = "available"
    SCHEDULED = "scheduled"
    SUSPENDED = "suspended"
    EXECUTING = "executing"
    RETRYABLE = "retryable"
    COMPLETED = "completed"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"


WAITING: Final = (JobState.SCHEDULED, JobState.RETRYABLE)
"""Waits for its time: the stager makes it available."""

FINAL: Final = (JobState.COMPLETED, JobState.DISCARDED, JobState.CANCELLED)
"""Has ended: only the pruner touches it, and whoever wants it run again."""

UNFINISHED: Final = (*WAITING, JobState.AVAILABLE, JobState.SUSPENDED, JobState.EXECUTING)
"""Has not ended: can be cancelled."""

RETRYING: Final = (*WAITING, JobState.SUSPENDED, *FINAL)
"""Neither runs nor is about to: can be made available."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One move: `verb` takes a job from `source` (None: from nothing) to `target` (None: the row is deleted)."""

    verb: str
    source: JobState | None
    target: JobState | None


TRANSITIONS: Final = (
    Transition("insert", None, JobState.AVAILABLE),
    Transition("insert", None, JobState.SCHEDULED),
    Transition("insert", None, JobState.SUSPENDED),
    *(
        Transition("follow", JobState.SUSPENDED, state)
        for state in (JobState.AVAILABLE, JobState.SCHEDULED, JobState.CANCELLED)
    ),
    *(Transition("restore", state, JobState.SUSPENDED) for state in (JobState.CANCELLED, JobState.DISCARDED)),
    *(Transition("wait", state, JobState.SUSPENDED) for state in FINAL),
    *(Transition("turn", JobState.SUSPENDED, state) for state in (JobState.AVAILABLE, JobState.SCHEDULED)),
    Transition("stage", JobState.SCHEDULED, JobState.AVAILABLE),
    Transition("stage", JobState.RETRYABLE, JobState.AVAILABLE),
    Transition("claim", JobState.AVAILABLE, JobState.EXECUTING),
    Transition("claim", JobState.AVAILABLE, JobState.DISCARDED),
    Transition("complete", JobState.EXECUTING, JobState.COMPLETED),
    Transition("snooze", JobState.EXECUTING, JobState.SCHEDULED),
    Transition("park", JobState.EXECUTING, JobState.SCHEDULED),
    Transition("park", JobState.EXECUTING, JobState.AVAILABLE),
    Transition("signal", JobState.SCHEDULED, JobState.AVAILABLE),
    Transition("cancel", JobState.EXECUTING, JobState.CANCELLED),
    Transition("fail", JobState.EXECUTING, JobState.RETRYABLE),
    Transition("exhaust", JobState.EXECUTING, JobState.DISCARDED),
    Transition("release", JobState.EXECUTING, JobState.AVAILABLE),
    Transition("rescue", JobState.EXECUTING, JobState.AVAILABLE),
    Transition("rescue", JobState.EXECUTING, JobState.DISCARDED),
    Transition("release", JobState.EXECUTING, JobState.CANCELLED),
    Transition("rescue", JobState.EXECUTING, JobState.CANCELLED),
    *(Transition("cancel", state, JobState.CANCELLED) for state in UNFINISHED if state is not JobState.EXECUTING),
    *(Transition("retry", state, JobState.AVAILABLE) for state in RETRYING),
    Transition("update", JobState.AVAILABLE, JobState.SCHEDULED),
    Transition("update", JobState.SCHEDULED, JobState.AVAILABLE),
    *(Transition("delete", state, None) for state in JobState if state is not JobState.EXECUTING),
    Transition("prune", JobState.COMPLETED, None),
    Transition("prune", JobState.CANCELLED, None),
    Transition("prune", JobState.DISCARDED, None),
)


def diagram() -> str:
    """The transition table as a Mermaid state diagram."""
    moves = (f"    {move.source or '[*]'} --> {move.target or '[*]'}: {move.verb}" for move in TRANSITIONS)
    return "\n".join(("stateDiagram-v2", *moves))


if __name__ == "__main__":
    sys.stdout.write(diagram() + "\n")
