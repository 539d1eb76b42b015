"""What the leader does, and who it is."""

from dataclasses import dataclass
from datetime import datetime

from sqla_oban.states import JobState
from sqla_oban.telemetry.events.base import Event


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
class WorkflowsMended(Event):
    """The leader found `jobs` of workflows that had ended, or could run, and of which nobody had taken notice."""

    jobs: tuple[int, ...]


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
class LeadershipGained(Event):
    """This node leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadershipLost(Event):
    """This node leads no longer."""
