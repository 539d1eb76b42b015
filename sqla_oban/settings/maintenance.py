"""Settings of the upkeep that the leader does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.settings.checks import positive, whole
from sqla_oban.states import FINAL, JobState

DAY = 86_400.0


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
