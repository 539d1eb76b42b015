"""How a busy producer keeps writers from ringing, and looks by itself; the protocol is told in `queries.wake`."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.pulse import Pulse

log = logging.getLogger(__name__)

EVERY = 0.005
"""Seconds between two looks while it hushes."""
RINGS = 8
"""Notices within `WITHIN` after which it begins: about as many as it would take looks instead."""
WITHIN = 0.05
"""Seconds for that many notices."""
LULL = 0.1
"""Seconds without any work after which it ends."""
STUCK = 0.25
"""Seconds without a look after which it ends by itself: the event loop is blocked, or the claim hangs."""
DUE = 0.1
"""Seconds between two looks for what was scheduled meanwhile; what is due sooner than that may start so much later."""


class Hush:
    """The time in which one producer looks every few milliseconds, so that nobody need be rung.

    A commit that rings waits in turn with all others that do. One now and then should, for its job starts the sooner;
    of hundreds a second all would be slowed down.

    Two invariants:

    * The key is held only by a producer that has looked within `STUCK` and had room then. A watch in the pulse sees to
      it, whose thread no job can block. All that changes is changed in that thread.
    * Whoever drops it, for whatever reason, has all who sleep look for the writers that did not ring.

    Args:
        on_look: called now and then meanwhile; writers may have scheduled jobs as well, which nobody else would know.
        on_end: called, in the pulse, when the key was dropped: what had been known of writers is out of date.
    """

    def __init__(
        self,
        notifier: Notifier,
        pulse: Pulse,
        queue: str,
        *,
        on_look: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._notifier = notifier
        self._pulse = pulse
        self._queue = queue
        self._on_look = on_look
        self._on_end = on_end
        self._generation: int | None = None
        self._watch: asyncio.Task[None] | None = None
        self._rings: deque[float] = deque(maxlen=RINGS)
        self._looked = self._found = self._asked = 0.0

    @property
    def holds_key(self) -> bool:
        """Whether nobody is rung; the key is lost with the connection that took it."""
        return self._generation == self._notifier.generation and self._notifier.hearing

    def rung(self) -> None:
        """A notice came."""
        self._rings.append(time.monotonic())

    async def lasts(self, found: int) -> bool:
        """To be called after a claim that found less than there is room for; whether to look again instead of sleeping.

        Args:
            found: how many jobs it found.
        """
        now = self._looked = time.monotonic()
        if found:
            self._found = now
        if self._generation is not None:
            self._ask(now)
            return self.holds_key and now - self._found < LULL
        if not found or len(self._rings) < RINGS or now - self._rings[0] > WITHIN:
            return False
        self._rings.clear()
        await self._pulse.run(self._begin())
        return self.holds_key

    async def end(self) -> None:
        """Drop the key: whoever sleeps shall be rung again."""
        if self._generation is not None:
            await self._pulse.run(self._end())

    def _ask(self, now: float) -> None:
        if now - self._asked >= DUE:
            self._asked = now
            self._on_look()

    async def _begin(self) -> None:
        self._generation = await self._notifier.hush(self._queue)
        if self._generation is not None and (self._watch is None or self._watch.done()):
            self._watch = asyncio.create_task(self._keep_watch())

    async def _end(self) -> None:
        """Wake-ups are hints: if this fails, what is left to the poll is what was written in the last moment."""
        if self._generation is None:
            return
        generation, self._generation = self._generation, None  # before any await: it is dropped once
        try:
            await self._notifier.end_hush(self._queue, generation)
        except Exception as error:
            log.warning("queue %r: others could not be told to listen again: %s", self._queue, error)
        finally:
            self._on_end()

    async def _keep_watch(self) -> None:
        while self._generation is not None:
            await asyncio.sleep(STUCK / 5)
            if time.monotonic() - self._looked > STUCK:
                await self._end()
