"""One frozen dataclass an event. Every event says which runner it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqla_oban.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events carry: the `node` of the runner where it happened."""

    node: str


class Enqueued(NamedTuple):
    """A job that was enqueued."""

    id: int
    queue: str
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsEnqueued(Event):
    """A session of this process has committed `jobs`; `node` is the process."""

    jobs: tuple[Enqueued, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsClaimed(Event):
    """A producer took `count` jobs of `queue`."""

    queue: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(Event):
    """A job is about to run, `waited` seconds after it was due; `args` are as they are stored, a JSON text."""

    id: int
    queue: str
    worker: str
    attempt: int
    max_attempts: int
    args: str
    tags: tuple[str, ...]
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished(Event):
    """A job ended, and `state` is about to be written; `error` is the exception's first line where it failed."""

    id: int
    queue: str
    worker: str
    attempt: int
    state: JobState
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(Event):
    """An attempt raised an exception: its type, its first line, and its traceback as it is kept in the job's errors.

    `state` is retryable, or discarded where no attempt is left.
    """

    id: int
    queue: str
    worker: str
    attempt: int
    max_attempts: int
    state: JobState
    seconds: float
    kind: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAbandoned(Event):
    """A job was stopped without an outcome (shutdown, or the node lost its lease); it goes back to its queue."""

    id: int
    queue: str
    worker: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AcksWritten(Event):
    """Outcomes were written; those of `late` jobs changed nothing, because the jobs were no longer ours."""

    written: int
    late: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcksDelayed(Event):
    """The database refused `pending` outcomes for now; they are kept and tried again."""

    pending: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AckReplaced(Event):
    """The outcome of one job could not be stored as it was; it was written with an `error` that says why instead."""

    id: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsStaged(Event):
    """`count` due jobs were made available, in `queues`."""

    queues: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRefused(Event):
    """A due job could not be made available (a trigger of the user's?); it is left alone for `retry_in` seconds."""

    id: int
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsReleased(Event):
    """Jobs that this node held without running them went back to their queue, the attempt refunded."""

    queue: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRescued(Event):
    """The leader took a job from a producer that is gone; `state` is available, or discarded when exhausted."""

    id: int
    queue: str
    state: JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsPruned(Event):
    """The leader deleted `count` jobs that ended long ago."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CronTicked(Event):
    """The entry `name` made one job for each of `ticks`; none in `ids` where the entry's policy passed over them."""

    name: str
    worker: str
    ticks: tuple[datetime, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronFailed(Event):
    """The entry `name` could not be evaluated; the other entries go on."""

    name: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRebuilt(Event):
    """The leader rebuilt an index, in `seconds`."""

    index: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStarted(Event):
    """This node runs `queue` from now on."""

    queue: str
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePaused(Event):
    """This node claims no jobs of `queue` until it is resumed; what runs goes on."""

    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueResumed(Event):
    """This node claims jobs of `queue` again."""

    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueScaled(Event):
    """This node runs up to `limit` jobs of `queue` at the same time."""

    queue: str
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStopped(Event):
    """This node runs `queue` no longer; the jobs `unfinished` did not end in time and were handed back."""

    queue: str
    unfinished: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadershipGained(Event):
    """This node leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadershipLost(Event):
    """This node leads no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerUp(Event):
    """Notifications arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerDown(Event):
    """Notifications do not arrive; jobs are found by polling until they do."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beaten(Event):
    """The database knows that this node's producers are alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessLost(Event):
    """The node could not renew in time and stops its jobs, before others may take them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFailed(Event):
    """A service's turn failed; it is tried again in `retry_in` seconds."""

    service: str
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStarted(Event):
    """All services of the runner are up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStopped(Event):
    """The runner has stopped; `unfinished` jobs did not end within the grace period and were handed back."""

    unfinished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanStarted(Event):
    """Something that takes its time has begun; see `telemetry.span`."""

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFinished(Event):
    """It has ended, after `seconds`."""

    name: str
    data: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFailed(Event):
    """It has raised an exception, after `seconds`."""

    name: str
    data: Mapping[str, Any]
    seconds: float
    kind: str
    message: str
