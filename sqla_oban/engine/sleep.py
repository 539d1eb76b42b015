"""How a producer goes to sleep without missing its wake-up; the protocol is told in `queries.wake`."""

import time
from collections.abc import Callable

from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.pulse import Pulse

SHORTEST = 0.002
"""Seconds before the first look for a writer that had begun before we slept."""
GIVE_UP = 5.0
"""Seconds after which such a writer is left to the stager's poll."""


class Sleep:
    """The sleep of one producer.

    While notifications do not arrive there is no key to hold, and the stager's poll wakes the producer.

    Args:
        on_look: called whenever the producer looks once more because of writers that may not have rung; they may have
            scheduled jobs as well, of which nobody else would know.
    """

    def __init__(self, notifier: Notifier, pulse: Pulse, queue: str, *, on_look: Callable[[], None]) -> None:
        self._notifier = notifier
        self._pulse = pulse
        self._queue = queue
        self._on_look = on_look
        self._generation: int | None = None
        self._writers: list[str] = []
        self._since = 0.0
        self._doubts = 0
        self._dispelled = 0

    @property
    def holds_key(self) -> bool:
        """Whether writers will ring; the key is lost with the connection that took it."""
        return self._generation == self._notifier.generation and self._notifier.hearing

    @property
    def pause(self) -> float | None:
        """Seconds until the next look for earlier writers; None when nothing but a wake-up is to be waited for."""
        return max(SHORTEST, (time.monotonic() - self._since) / 8) if self._writers else None

    def doubt(self) -> None:
        """There may be writers that did not ring though we held the key: look for them again. Safe from any thread."""
        self._doubts += 1

    async def fall(self) -> bool:
        """To be called after a claim found nothing; returns whether to look once more before sleeping."""
        if not self._notifier.hearing:
            return False
        doubts = self._doubts  # what comes later is left for the next time
        if not self.holds_key:
            self._since = time.monotonic()
            self._generation, self._writers = await self._pulse.run(self._notifier.rest(self._queue))
            self._dispelled = doubts
        elif doubts != self._dispelled:
            self._since = time.monotonic()
            self._writers = await self._pulse.run(self._notifier.writers(None))
            self._dispelled = doubts
        elif not self._writers or not await self._writers_ended():
            return False
        self._on_look()
        return True

    async def end(self) -> None:
        """Drop the key: somebody else shall be rung, here is no room."""
        if self.holds_key:
            self._generation = None
            await self._pulse.run(self._notifier.leave(self._queue))

    async def _writers_ended(self) -> bool:
        left = await self._pulse.run(self._notifier.writers(self._writers))
        ended = len(left) < len(self._writers)
        self._writers = left if time.monotonic() - self._since < GIVE_UP else []
        return ended
