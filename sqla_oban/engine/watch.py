"""Looks at the jobs that somebody waits for."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqla_oban.engine.database import Link
from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.service import Service
from sqla_oban.queries.wait import LOOK
from sqla_oban.settings import StagerSettings
from sqla_oban.states import JobState


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended.

    Args:
        state: the final one; None if the job is gone.
        result: what its worker recorded, JSON as text; None for nothing.
        error: what its errors say last.
    """

    state: JobState | None
    result: str | None = None
    error: str | None = None


class Watch(Service):
    """Gives everybody who waits the end of his job: many jobs by one statement, however many wait for each.

    It looks at a job as soon as somebody waits for it and when a notice names it; at all of them when hearing begins
    anew and as often as the stager does, for what was not heard. Why no end is missed: `queries/wait.py`.

    Args:
        link: where to look.
        notifier: what says that a job has ended, in the same loop.
        settings: the stager's, which say how often to look while notices arrive and while they do not.
    """

    def __init__(self, link: Link, notifier: Notifier, *, node: str, settings: StagerSettings) -> None:
        super().__init__(node=node, interval=None)
        self._link = link
        self._notifier = notifier
        self._settings = settings
        self._waiting: dict[int, set[asyncio.Future[End]]] = {}
        self._noticed: set[int] = set()
        self._all_at = 0.0
        notifier.subscribe("relay", self._hear)
        notifier.on_hearing = self._look_at_all

    @contextmanager
    def expecting(self, id: int) -> Iterator[asyncio.Future[End]]:
        """The end of a job that was there, to be awaited; whoever leaves waits no longer."""
        end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id, set()).add(end)
        self._noticed.add(id)
        self.wake()
        try:
            yield end
        finally:
            self._forget(id, end)

    async def tick(self) -> float | None:
        """Look at those that are to be looked at."""
        now = time.monotonic()
        pause = self._settings.interval if self._notifier.hearing else self._settings.deaf_interval
        if now >= self._all_at:
            self._noticed, self._all_at = set(self._waiting), now + pause
        ids, self._noticed = self._noticed & self._waiting.keys(), set()
        if ids:
            try:
                await self._look(ids)
            except BaseException:
                self._noticed |= ids
                raise
        return max(0.0, min(pause, self._all_at - time.monotonic())) if self._waiting else None

    async def _look(self, ids: set[int]) -> None:
        asking = {id_: tuple(self._waiting[id_]) for id_ in ids}  # who comes meanwhile is told by a look of his own
        ends = dict.fromkeys(ids, End(None))
        for row in await self._link.execute(LOOK, {"ids": sorted(ids)}):
            if row.is_final:
                ends[row.id] = End(JobState(row.state), row.result, row.error)
            else:
                del ends[row.id]
        for id_, end in ends.items():
            for waiter in asking[id_]:
                if not waiter.done():
                    waiter.set_result(end)

    def _forget(self, id: int, end: asyncio.Future[End]) -> None:
        end.cancel()
        self._waiting[id].discard(end)
        if not self._waiting[id]:
            del self._waiting[id]

    def _hear(self, notice: dict[str, Any]) -> None:
        id_ = notice.get("job_id")
        if isinstance(id_, int) and id_ in self._waiting:
            self._noticed.add(id_)
            self.wake()

    def _look_at_all(self) -> None:
        self._all_at = 0.0
        self.wake()
