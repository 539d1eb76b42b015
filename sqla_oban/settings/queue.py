"""How a queue is run."""

from dataclasses import dataclass
from typing import TypeAlias

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.settings.checks import named, whole
from sqla_oban.settings.executors import ExecutorKind
from sqla_oban.settings.rate_limit import RateLimit, checked_rate

Partition: TypeAlias = str | tuple[str, str]
"""What divides the jobs of a queue: "worker", or a key of their args or meta, as ("args", "account_id")."""


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """How one queue is run on one node.

    Args:
        limit: how many of its jobs run here at the same time.
        paused: whether it claims no jobs until it is resumed. What was said at run time (`oban.queues`) counts more
            than either, also after a restart.
        executor: "process" to run its jobs in other processes, but for those of workers that say where they run.
            Default: by the worker.
        global_limit: how many run on all nodes together; default: as many as they have room for.
        rate_limit: how many start within a time on all nodes together; default: any number.
        partition: what divides its jobs so that both limits hold for each part by itself, and the parts take turns:
            "worker", or a key of the args or the meta, as ("args", "account_id"). Jobs without that key are one part.
        burst: whether a part may go past `global_limit` where there is room that no part may use within it. A rate
            limit is kept.

    The last four say something about all nodes, so all nodes should say the same.

    >>> SqlaOban(engine, queues={"mailers": QueueConfig(limit=20)})  # doctest: +SKIP
    """

    limit: int = 10
    paused: bool = False
    executor: str | None = None
    global_limit: int | None = None
    rate_limit: RateLimit | None = None
    partition: Partition | None = None
    burst: bool = False

    def __post_init__(self) -> None:
        whole("QueueConfig.limit", self.limit)
        if not isinstance(self.paused, bool):
            raise ConfigurationError(f"QueueConfig.paused must be True or False, got {shown(self.paused)}")
        if self.executor not in (None, ExecutorKind.PROCESS):
            raise ConfigurationError(
                f'QueueConfig.executor must be "process" or None, got {shown(self.executor)}; whether a worker runs '
                "as a task or in a thread depends on its being async or sync"
            )
        self._check_limits()

    @property
    def is_limited(self) -> bool:
        """Whether more than the number of its jobs on each node counts."""
        return self.global_limit is not None or self.rate_limit is not None

    @property
    def spec(self) -> list[str] | None:
        """What divides its jobs, as the database takes it."""
        if self.partition is None:
            return None
        return [self.partition] if isinstance(self.partition, str) else list(self.partition)

    def _check_limits(self) -> None:
        if self.global_limit is not None:
            whole("QueueConfig.global_limit", self.global_limit)
        if self.rate_limit is not None:
            checked_rate("QueueConfig.rate_limit", self.rate_limit)
        if not isinstance(self.burst, bool):
            raise ConfigurationError(f"QueueConfig.burst must be True or False, got {shown(self.burst)}")
        if self.partition is not None:
            _check_partition(self.partition)
            if not self.is_limited:
                raise ConfigurationError("QueueConfig.partition divides a limit: give global_limit or rate_limit too")
        if self.burst and (self.partition is None or self.global_limit is None):
            raise ConfigurationError("QueueConfig.burst lets partitions go past global_limit: give both of them too")


def _check_partition(value: object) -> None:
    if value == "worker":
        return
    if not (isinstance(value, tuple) and len(value) == 2 and value[0] in ("args", "meta")):
        raise ConfigurationError(
            'QueueConfig.partition must be "worker", or a key of the args or the meta as ("args", "account_id"), '
            f"got {shown(value)}"
        )
    named("the key in QueueConfig.partition", value[1])
