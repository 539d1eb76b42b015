"""Settings of the services that every node runs."""

from dataclasses import dataclass

from sqla_oban.errors import ConfigurationError
from sqla_oban.settings.checks import positive, whole


@dataclass(frozen=True, slots=True)
class StagerSettings:
    """Makes due jobs available, and finds work whose notification was lost.

    Args:
        interval: how often to look when nothing is known to be due sooner. Above five seconds, what is scheduled for
            within these may be late: writers tell only of what is due within five.
        deaf_interval: how often to look while notifications do not arrive.
        limit: the most jobs to make available in one statement.
    """

    interval: float = 3.0
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

    health_interval: float = 30.0
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

    interval: float = 5.0
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

    ttl: float = 15.0
    margin: float = 1.5

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
