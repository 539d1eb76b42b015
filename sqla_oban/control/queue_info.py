"""What a queue on a node is doing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqla_oban.settings import RateLimit
from sqla_oban.settings.queue import Partition

MAX_DIGITS: Final = 10


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
        global_limit, rate_limit, partition, burst: the limits over all nodes that it keeps there.
    """

    queue: str
    node: str
    name: str
    limit: int | None
    paused: bool
    running: tuple[int, ...]
    started_at: datetime
    uuid: UUID
    global_limit: int | None = None
    rate_limit: RateLimit | None = None
    partition: Partition | None = None
    burst: bool = False


def number_told(text: str | None) -> int | None:
    """A number that a producer's row tells of a queue; anybody may write a row: one that is none is not shown as one.

    >>> number_told("10"), number_told("lots"), number_told(None)
    (10, None, None)
    """
    known = text is not None and text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if known and text is not None else None
