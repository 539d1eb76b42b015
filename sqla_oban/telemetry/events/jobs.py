"""What happens to jobs on a node."""

from dataclasses import dataclass
from typing import NamedTuple

from sqla_oban.states import JobState
from sqla_oban.telemetry.events.base import Event


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
    """A job is about to run, `waited` seconds after it was due; `args` and `meta` are as they are stored, as JSON."""

    id: int
    queue: str
    worker: str
    attempt: int
    max_attempts: int
    args: str
    tags: tuple[str, ...]
    waited: float
    meta: str = "{}"


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
    """A due job could not be made available, or another not be rescued or handed back (a trigger of the user's?).

    It is left alone for `retry_in` seconds.
    """

    id: int
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsReleased(Event):
    """Jobs that this node held without running them went back to their queue, the attempt refunded."""

    queue: str
    ids: tuple[int, ...]
