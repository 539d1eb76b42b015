"""What happens to a node and its queues."""

from dataclasses import dataclass
from typing import NamedTuple

from sqla_oban.telemetry.events.base import Event


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
class RunnerStopping(Event):
    """The runner was told to stop: it claims no more jobs, and lets those that run end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStopped(Event):
    """The runner has stopped; `unfinished` jobs did not end within the grace period and were handed back."""

    unfinished: int


class QueueDepth(NamedTuple):
    """`number` jobs of `queue` are in `state`; an estimate above 50,000."""

    queue: str
    state: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuesMeasured(Event):
    """What there is to do, in all queues; `lags` are the seconds for which the oldest available job has been due."""

    depths: tuple[QueueDepth, ...]
    lags: dict[str, float]
