"""How a queue is run."""

from dataclasses import dataclass

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.settings.checks import whole
from sqla_oban.settings.executors import ExecutorKind


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """How one queue is run on one node.

    Args:
        limit: how many of its jobs run here at the same time.
        paused: whether it claims no jobs until it is resumed. What was said at run time (`oban.queues`) counts more
            than either, also after a restart.
        executor: "process" to run its jobs in other processes, but for those of workers that say where they run.
            Default: by the worker.

    >>> SqlaOban(engine, queues={"mailers": QueueConfig(limit=20)})  # doctest: +SKIP
    """

    limit: int = 10
    paused: bool = False
    executor: str | None = None

    def __post_init__(self) -> None:
        whole("QueueConfig.limit", self.limit)
        if not isinstance(self.paused, bool):
            raise ConfigurationError(f"QueueConfig.paused must be True or False, got {shown(self.paused)}")
        if self.executor not in (None, ExecutorKind.PROCESS):
            raise ConfigurationError(
                f'QueueConfig.executor must be "process" or None, got {shown(self.executor)}; whether a worker runs '
                "as a task or in a thread depends on its being async or sync"
            )
