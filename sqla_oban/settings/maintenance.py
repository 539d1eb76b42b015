"""Settings of the upkeep that the leader does."""

from collections.abc import Collection, Mapping, Sequence
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

    interval: float = 7.5
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
class MenderSettings:
    """Settles what of a workflow was left unsettled, as after a transaction that locked a job and rolled back.

    Args:
        interval: how often to look.
        batch: the most jobs in one statement.
        keep: for how long a workflow without jobs is kept, counted from when it was stored, and a batch without jobs,
            counted from when all of them had ended.
    """

    interval: float = 30.0
    batch: int = 1_000
    keep: float = DAY

    def __post_init__(self) -> None:
        positive("MenderSettings.interval", self.interval)
        positive("MenderSettings.keep", self.keep)
        whole("MenderSettings.batch", self.batch)


@dataclass(frozen=True, slots=True)
class ReindexerSettings:
    """Rebuilds indexes of `oban_jobs` that have grown large with little in them, as years of churn make them.

    Args:
        interval: how often to look, and the least time between two rebuilds of an index.
        min_size: bytes below which an index is left alone.
        timeout: seconds that a rebuild may take.
    """

    interval: float = DAY
    min_size: int = 64 * 2**20
    timeout: float = 3_600.0

    def __post_init__(self) -> None:
        positive("ReindexerSettings.interval", self.interval)
        positive("ReindexerSettings.timeout", self.timeout)
        whole("ReindexerSettings.min_size", self.min_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRule:
    """How long the jobs of one queue or one worker are kept, whatever holds for others.

    Args:
        queue, worker: whose jobs; one of the two. A worker's rule comes before that of the queue its jobs are in.
        max_age: how long they are kept once they have ended, in seconds or as a timedelta; None keeps them for ever.
        max_kept: how many of each state are kept, the newest; None sets no limit.
        states: the final states that it is about; default: all.

    >>> PruneRule(worker="app.heartbeat", max_age=3600, max_kept=1000).worker
    'app.heartbeat'
    """

    queue: str | None = None
    worker: str | None = None
    max_age: float | timedelta | None = None
    max_kept: int | None = None
    states: Collection[JobState] = FINAL

    def __post_init__(self) -> None:
        if (self.queue is None) == (self.worker is None):
            raise ConfigurationError("PruneRule is about a queue or about a worker; give one of the two")
        name = self.worker if self.queue is None else self.queue
        if not isinstance(name, str) or not name.strip() or "\x00" in name:
            raise ConfigurationError(f"PruneRule takes a name that is not blank, got {shown(name)}")
        if isinstance(self.states, str) or not set(self.states) <= set(FINAL) or not self.states:
            raise ConfigurationError(f"PruneRule.states must be of {', '.join(FINAL)}, got {shown(self.states)}")
        object.__setattr__(self, "states", frozenset(JobState(state) for state in self.states))
        if self.max_age is not None:
            positive("PruneRule.max_age", in_seconds(self.max_age))
        if self.max_kept is not None:
            whole("PruneRule.max_kept", self.max_kept)


@dataclass(frozen=True, slots=True)
class PrunerSettings:
    """Deletes jobs that ended long ago.

    Args:
        interval: how often to look.
        max_age: how long jobs of each final state are kept, in seconds or as a timedelta; None keeps them for ever.
            Failures are kept longer than successes, because somebody will ask about them.
        batch: the most jobs in one statement; statements follow each other until nothing is left to delete.
        max_kept: how many jobs of a final state are kept, the newest; states that are not named have no such limit.
            Jobs of a rule of their own are not counted.
        rules: what holds for the jobs of single queues and workers instead.
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
    max_kept: Mapping[JobState, int] = field(default_factory=dict)
    rules: Sequence[PruneRule] = ()

    def __post_init__(self) -> None:
        positive("PrunerSettings.interval", self.interval)
        whole("PrunerSettings.batch", self.batch)
        self._check_rules()
        self._check_ages()

    def _check_rules(self) -> None:
        if not set(self.max_kept) <= set(FINAL):
            raise ConfigurationError(
                f"PrunerSettings.max_kept must be a dict of final states, got {shown(self.max_kept)}"
            )
        for state, most in self.max_kept.items():
            whole(f"PrunerSettings.max_kept[{state}]", most)
        object.__setattr__(self, "max_kept", MappingProxyType(dict(self.max_kept)))
        object.__setattr__(self, "rules", tuple(self.rules))
        taken: set[tuple[str | None, str | None, JobState]] = set()
        for rule in self.rules:
            if not isinstance(rule, PruneRule):
                raise ConfigurationError(f"PrunerSettings.rules takes PruneRules, got {shown(rule)}")
            scopes = {(rule.queue, rule.worker, state) for state in rule.states}
            if scopes & taken:
                raise ConfigurationError(f"PrunerSettings.rules has two rules for {rule.queue or rule.worker!r}")
            taken |= scopes

    def _check_ages(self) -> None:
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
        return {JobState(state): in_seconds(age) for state, age in self.max_age.items() if age is not None}


def in_seconds(age: float | timedelta) -> float:
    """A span of time as a number."""
    return age.total_seconds() if isinstance(age, timedelta) else age
