"""What a queue on a node is doing."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A queue that a node runs.

    Attributes:
        queue: its name.
        node, name: where it runs, and under which runner's name.
        limit: how many of its jobs run there at the same time; None where another library does not say.
        paused: whether it claims no jobs there.
        running: the ids of the jobs that run there.
        started_at: since when.
        uuid: its producer, as in the jobs' `attempted_by`.
    """

    queue: str
    node: str
    name: str
    limit: int | None
    paused: bool
    running: tuple[int, ...]
    started_at: datetime
    uuid: UUID
