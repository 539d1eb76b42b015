"""How a queue is run."""

from dataclasses import dataclass

from sqla_oban.settings.checks import whole


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
