"""Where those are who wait for the end of jobs: one connection for all of them, there while somebody is."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban.engine.database import Link
from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.watch import Watch
from sqla_oban.settings import NotifierSettings, StagerSettings

LINGER = 10.0
"""Seconds that the connection is kept after the last has left: another may come soon."""
STATEMENT_TIMEOUT = 30.0
"""Seconds that a look may take; results may be large."""


class WaitingRoom:
    """One connection that listens and looks, in the loop of those who wait; closed when nobody has come for a while.

    Args:
        engine: the user's.
        listen_url: the address past a pooler, if there is one.
        home: the schema in which the tables were found.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        listen_url: URL | None,
        home: str,
        node: str,
        notifier: NotifierSettings,
        stager: StagerSettings,
    ) -> None:
        direct = engine if listen_url is None else create_async_engine(listen_url)
        self._link = Link(direct, purpose="relay", schema=home, timeout=STATEMENT_TIMEOUT)
        self._notifier = Notifier(self._link, node=node, home=home, settings=notifier)
        self._watch = Watch(self._link, self._notifier, node=node, settings=stager)
        self._loop = asyncio.get_running_loop()
        self._guests = 0
        self._linger = LINGER
        self._deserted = asyncio.Event()
        self._leaving: asyncio.TimerHandle | None = None
        self._task = self._loop.create_task(self._serve(), name="sqla_oban WaitingRoom")

    @property
    def is_open(self) -> bool:
        """Whether who runs in this loop may wait here."""
        here = self._loop is asyncio.get_running_loop()
        return here and not self._deserted.is_set() and not self._task.done()

    @contextmanager
    def entered(self) -> Iterator[Watch]:
        """Keeps it open, and gives what tells of the end of jobs."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._guests += 1
        try:
            yield self._watch
        finally:
            self._guests -= 1
            if not self._guests:
                self._leaving = self._loop.call_later(self._linger, self._deserted.set)

    async def close(self) -> None:
        """Close it, now or, if somebody waits, as soon as nobody does."""
        self._linger = 0.0
        if self.is_open and self._guests:
            return
        if self._leaving is not None:
            self._leaving.cancel()
        if self._loop is asyncio.get_running_loop():
            self._deserted.set()
            await asyncio.wait([self._task])

    async def _serve(self) -> None:
        """Also when the loop ends first, which cancels this, the connection is closed."""
        try:
            async with self._notifier, self._watch:
                await self._deserted.wait()
        finally:
            await self._link.close()
