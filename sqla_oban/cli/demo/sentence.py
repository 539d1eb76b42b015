"""What a node reports, in words."""

from sqla_oban.states import JobState
from sqla_oban.telemetry.events import (
    Event,
    JobFinished,
    JobRescued,
    JobsStaged,
    JobStarted,
    LeadershipGained,
    LeadershipLost,
    RunnerStarted,
)


def sentence(event: Event) -> str:
    """An event as a short sentence whose subject is its node.

    >>> sentence(LeadershipGained(node="node-1"))
    'node-1 leads'
    """
    return f"{event.node} {_predicate(event)}"


def _predicate(event: Event) -> str:
    match event:
        case RunnerStarted():
            return "runs jobs"
        case LeadershipGained():
            return "leads"
        case LeadershipLost():
            return "leads no longer"
        case JobsStaged():
            return f"finds that {event.count} waiting job is due"
        case JobStarted():
            return f"starts job {event.id}, {_short(event.worker)}, attempt {event.attempt}"
        case JobFinished(state=JobState.COMPLETED):
            return f"completed job {event.id}"
        case JobFinished():
            return f"failed job {event.id}: {event.error}"
        case JobRescued():
            return f"rescues job {event.id}: {event.state} again"
        case _:
            return type(event).__name__


def _short(worker: str) -> str:
    return worker.rpartition(".")[2]
