"""What is to hold for the queues of a node, from what it was started with and what was said since."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqla_oban.engine.limits import UNLIMITED, Limits
from sqla_oban.queries.queues import EVERY_NODE, EVERY_QUEUE
from sqla_oban.settings import QueueConfig


class Word(NamedTuple):
    """A row of `oban_queues`."""

    queue: str
    node: str
    running: bool | None
    paused: bool | None
    limit: int | None
    global_limit: int | None
    rate_limit: Any
    said_at: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What is to hold for a queue.

    Attributes:
        running, paused, limit: how it is to be run.
        limits: those that it has over all nodes.
        said_at: when the words that it follows from were said, so that a word said again is told from an old one.
    """

    running: bool
    paused: bool
    limit: int
    limits: Limits = UNLIMITED
    said_at: tuple[str, ...] = ()


UNKNOWN = Standing(running=False, paused=False, limit=QueueConfig().limit)
"""What holds for a queue that neither the runner nor an operator has named."""


def standings(words: Iterable[Word], configured: Mapping[str, QueueConfig]) -> dict[str, Standing]:
    """What is to hold for every queue that was configured here or that something was said of.

    A word counts more the closer it is to the queue and, of those, to this node. A queue is started for every node
    only where the runner has queues: a runner that was started for its upkeep alone, perhaps inside a web application,
    runs jobs only when it is told to by its name.
    """
    by_place = {(word.queue, word.node == EVERY_NODE): word for word in words}
    queues = [*configured, *(queue for queue, _ in by_place if queue not in configured)]
    return {
        queue: _standing(queue, by_place, configured)
        for queue in dict.fromkeys(queues)
        if queue in configured or queue != EVERY_QUEUE
    }


def _standing(queue: str, by_place: Mapping[tuple[str, bool], Word], configured: Mapping[str, QueueConfig]) -> Standing:
    places = [(queue, False), (queue, True), (EVERY_QUEUE, False), (EVERY_QUEUE, True)]
    words = [by_place[place] for place in places if place in by_place]
    begin = configured.get(queue, QueueConfig())
    started = [word.running for word in words if word.running is not None and (configured or word.node != EVERY_NODE)]
    paused = [word.paused for word in words if word.paused is not None]
    limits = [word.limit for word in words if word.limit is not None and word.limit > 0]
    everywhere = by_place.get((queue, True))
    over_all = (None, None) if everywhere is None else (everywhere.global_limit, everywhere.rate_limit)
    return Standing(
        running=(started or [queue in configured])[0],
        paused=(paused or [begin.paused])[0],
        limit=(limits or [begin.limit])[0],
        limits=Limits.of(begin, *over_all),
        said_at=tuple(word.said_at for word in words),
    )
