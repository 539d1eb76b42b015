"""Where in its queue a producer's next claim begins."""

import math
from collections.abc import Iterable

from sqla_oban.queries.claim import START, Claimed, Key

SHARE = 16
"""How many times as long the queue is drained onwards as was lost by looking at it from its start again."""
FADE = 1.05
"""How fast the quickest claim onwards is forgotten, with each that follows."""
REWIND = 1.0
"""Seconds after which it is looked at from its start again, however long that takes."""
MOST_KEYS = 16
"""Priorities that are followed one by one; a job has ten to choose from."""


class Front:
    """The last keys claimed, one for each priority: behind them are the jobs that wait.

    The front is a shortcut past dead index entries, and it may pass over jobs that come late: whose transaction began
    before others that are claimed already, or that went back to where they had been. So the queue is looked at from its
    start again

    * when the notifier or the stager says that something is new, and when a claim comes back short;
    * as often as it costs little. What a claim from the start takes longer than one onwards is repaid by draining
      onwards for sixteen times as long. Where nothing holds a vacuum up, that is every claim or every other; where half
      a million dead entries lie in front, a look takes 50 ms, and a late job may wait for `REWIND`. It is compared
      with the quickest claim onwards of late: beside one that was slow by chance, a look back would seem free.

    A job of a higher priority need not be late at all: it is behind the key of its own priority, or between two keys,
    and so among the first that the next claim sees.
    """

    def __init__(self) -> None:
        self._keys: dict[int, Key] = {}
        self._news = False
        self._rewind_at = -math.inf
        self._onwards: float | None = None
        self._began = 0.0

    @property
    def at_start(self) -> bool:
        """Whether the next claim, or the one under way, looks at the whole queue."""
        return not self._keys

    def rewind(self) -> None:
        """Begin the next claim at the start of the queue."""
        self._keys.clear()

    def rewind_soon(self) -> None:
        """There may be something new anywhere in the queue. Safe from any thread.

        A flag of its own: what is said while a claim begins is either seen by it or left for the next.
        """
        self._news = True

    def keys(self, now: float) -> list[Key]:
        """Where a claim that begins now has to look.

        Args:
            now: seconds of a monotonic clock.
        """
        if self._news or now >= self._rewind_at or len(self._keys) > MOST_KEYS:
            self._news = False
            self._keys.clear()
            self._rewind_at = now + REWIND
        self._began = now
        keys = [self._keys[priority] for priority in sorted(self._keys)]
        return keys if keys and keys[0].priority <= 0 else [START, *keys]

    def advance(self, claimed: Iterable[Claimed], now: float) -> None:
        """Go on behind jobs, which are in the order of their keys, once their claim has come back.

        Args:
            now: as for `keys`.
        """
        taken = now - self._began
        if self._keys:
            self._onwards = taken if self._onwards is None else min(taken, FADE * self._onwards)
        elif self._onwards is not None:
            lost = max(0.0, taken - self._onwards)
            self._rewind_at = min(self._rewind_at, now + SHARE * lost)
        last = {job.priority: job for job in claimed}
        self._keys |= {priority: Key.of(job) for priority, job in last.items()}
