"""What a queue on a node is doing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

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
    """

    queue: str
    node: str
    name: str
    limit: int | None
    paused: bool
    running: tuple[int, ...]
    started_at: datetime
    uuid: UUID


def number_told(text: str | None) -> int | None:
    """A number that a producer's row tells of a queue; anybody may write a row: one that is none is not shown as one.

    >>> number_told("10"), number_told("lots"), number_told(None)
    (10, None, None)
    """
    known = text is not None and text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if known and text is not None else None
