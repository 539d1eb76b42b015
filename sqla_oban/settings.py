"""Settings, one frozen dataclass a service, checked when they are made.

All durations are seconds. Every class raises ConfigurationError for a value out of range.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.states import FINAL, JobState

DAY = 86_400.0
CENTURY = 36_500 * DAY
MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """How one queue is run on one node.

    Args:
        limit: how many of its jobs run here at the same time.

    >>> SqlaOban(engine, queues={"mailers": QueueConfig(limit=20)})  # doctest: +SKIP
    """

    limit: int = 10

    def __post_init__(self) -> None:
        whole("QueueConfig.limit", self.limit)


@dataclass(frozen=True, slots=True)
class StagerSettings:
    """Makes due jobs available, and finds work whose notification was lost.

    Args:
        interval: how often to look when nothing is known to be due sooner.
        deaf_interval: how often to look while notifications do not arrive.
        limit: the most jobs to make available in one statement.
    """

    interval: float = 1.0
    deaf_interval: float = 0.25
    limit: int = 5_000

    def __post_init__(self) -> None:
        positive("StagerSettings.interval", self.interval)
        positive("StagerSettings.deaf_interval", self.deaf_interval)
        whole("StagerSettings.limit", self.limit)


@dataclass(frozen=True, slots=True)
class AckerSettings:
    """Writes outcomes.

    Args:
        batch: the most outcomes in one statement.
        backlog: how many outcomes may wait for the database before the node stops taking new jobs.
    """

    batch: int = 500
    backlog: int = 10_000

    def __post_init__(self) -> None:
        whole("AckerSettings.batch", self.batch)
        whole("AckerSettings.backlog", self.backlog)


@dataclass(frozen=True, slots=True)
class NotifierSettings:
    """Hears of new jobs.

    Args:
        health_interval: how often a notification is sent to ourselves to prove that they arrive.
        timeout: how long such a notification, or a connection attempt, may take.
    """

    health_interval: float = 15.0
    timeout: float = 5.0

    def __post_init__(self) -> None:
        positive("NotifierSettings.health_interval", self.health_interval)
        positive("NotifierSettings.timeout", self.timeout)


@dataclass(frozen=True, slots=True)
class HeartbeatSettings:
    """Proves that this node's producers are alive.

    Args:
        interval: how often to prove it.
        ttl: how long one proof holds; after that the leader gives the node's running jobs to others.
        margin: how long before the end of `ttl` a node that cannot renew stops its own jobs.
    """

    interval: float = 4.0
    ttl: float = 15.0
    margin: float = 3.0

    def __post_init__(self) -> None:
        positive("HeartbeatSettings.interval", self.interval)
        positive("HeartbeatSettings.margin", self.margin)
        positive("HeartbeatSettings.ttl", self.ttl)
        if self.interval > (self.ttl - self.margin) / 2:
            raise ConfigurationError(
                f"HeartbeatSettings(interval={self.interval}, ttl={self.ttl}, margin={self.margin}) leaves no room for "
                "one failed beat; interval must be at most half of ttl - margin"
            )

    @property
    def patience(self) -> float:
        """How long a statement may hang beside the beats: two that hang one after the other must not cost the proof."""
        return min(10.0, (self.ttl - self.margin - 1.1 * self.interval) / 3)


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    """Elects the node that does the upkeep.

    Args:
        ttl: how long a lease holds; after a leader died another leads within this time.
        margin: how long before the end of its lease a leader that cannot renew stops to act.
    """

    ttl: float = 10.0
    margin: float = 1.0

    def __post_init__(self) -> None:
        positive("LeaderSettings.ttl", self.ttl)
        positive("LeaderSettings.margin", self.margin)
        if self.margin > self.ttl / 3:
            raise ConfigurationError(
                f"LeaderSettings(ttl={self.ttl}, margin={self.margin}): margin must be at most a third of ttl"
            )

    @property
    def renewal(self) -> float:
        """How often the leader renews: two renewals may fail before it stops to act."""
        return (self.ttl - self.margin) / 3


@dataclass(frozen=True, slots=True)
class LifelineSettings:
    """Rescues jobs whose producer is gone.

    Args:
        interval: how often to look.
        batch: the most jobs in one statement.
        grace: how long producers may take to register again after a crash of PostgreSQL emptied their table.
        rescue_after: rescue any job that has been executing for longer than this, whoever runs it; None for never.
            Only for tables shared with a library that keeps no heartbeat: a job that really takes longer runs twice.
    """

    interval: float = 2.0
    batch: int = 100
    grace: float = 30.0
    rescue_after: float | None = None

    def __post_init__(self) -> None:
        positive("LifelineSettings.interval", self.interval)
        positive("LifelineSettings.grace", self.grace)
        whole("LifelineSettings.batch", self.batch)
        if self.rescue_after is not None:
            positive("LifelineSettings.rescue_after", self.rescue_after)


@dataclass(frozen=True, slots=True)
class PrunerSettings:
    """Deletes jobs that ended long ago.

    Args:
        interval: how often to look.
        max_age: how long jobs of each final state are kept, in seconds or as a timedelta; None keeps them for ever.
            Failures are kept longer than successes, because somebody will ask about them.
        batch: the most jobs in one statement; statements follow each other until nothing is left to delete.
    """

    interval: float = 30.0
    max_age: Mapping[JobState, float | timedelta | None] = field(
        default_factory=lambda: {
            JobState.COMPLETED: 1 * DAY,
            JobState.CANCELLED: 7 * DAY,
            JobState.DISCARDED: 30 * DAY,
        }
    )
    batch: int = 5_000

    def __post_init__(self) -> None:
        positive("PrunerSettings.interval", self.interval)
        whole("PrunerSettings.batch", self.batch)
        if not isinstance(self.max_age, Mapping):
            raise ConfigurationError(f"PrunerSettings.max_age must be a dict of states, got {shown(self.max_age)}")
        for state in self.max_age:
            if state not in FINAL:
                raise ConfigurationError(
                    f"PrunerSettings.max_age: jobs that are {state} have not ended; known: {', '.join(FINAL)}"
                )
        object.__setattr__(self, "max_age", MappingProxyType(dict(self.max_age)))  # as it was checked
        for state, age in self.seconds().items():
            positive(f"PrunerSettings.max_age[{state}]", age)

    def seconds(self) -> dict[JobState, float]:
        """The ages of the states that are pruned at all, in seconds."""
        return {
            JobState(state): age.total_seconds() if isinstance(age, timedelta) else age
            for state, age in self.max_age.items()
            if age is not None
        }


def positive(what: str, value: object) -> None:
    """Refuse anything but a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{what} must be a number of seconds, got {shown(value)}")
    if not 0 < value <= CENTURY:
        raise ConfigurationError(f"{what} must be a finite number above zero and at most a century, got {shown(value)}")


def whole(what: str, value: object) -> None:
    """Refuse anything but an integer above zero."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{what} must be an integer, got {shown(value)}")
    if value < 1:
        raise ConfigurationError(f"{what} must be at least 1, got {shown(value)}")
    if value > MOST:
        raise ConfigurationError(f"{what} must be at most {MOST}, got {shown(value)}")
