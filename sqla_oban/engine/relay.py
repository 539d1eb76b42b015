"""Enqueue a job and wait for its end, from wherever somebody has the database."""

import asyncio
import json
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import URL, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from sqla_oban.control.selection import selected
from sqla_oban.control.sessions import Sessions
from sqla_oban.engine.waiting_room import WaitingRoom
from sqla_oban.engine.watch import End, Watch
from sqla_oban.enqueue.insert import insert_all
from sqla_oban.errors import (
    InvalidArguments,
    InvalidSelection,
    JobCancelled,
    JobDeleted,
    JobDiscarded,
    JobNotFound,
    WaitTimeout,
    shown,
)
from sqla_oban.migrations import home_of
from sqla_oban.models import JobMixin, Scope
from sqla_oban.outcomes import MAX_DELAY
from sqla_oban.queries.chains import hold_turn
from sqla_oban.queries.expressions import JOBS
from sqla_oban.queries.headline import headline
from sqla_oban.queries.wait import mark
from sqla_oban.settings import NotifierSettings, StagerSettings
from sqla_oban.states import JobState


class Relay:
    """Waits for jobs in one waiting room, which it opens when somebody comes.

    Args:
        engine: the user's.
        sessions: where jobs are inserted and marked.
        scope: which jobs these are.
        listen_url: the address past a pooler, if there is one.
        node: for the events of what listens.
        notifier, stager: how that listens and looks.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        sessions: Sessions,
        scope: Scope,
        *,
        listen_url: URL | None,
        node: str,
        notifier: NotifierSettings,
        stager: StagerSettings,
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._scope = scope
        self._make_room = partial(
            WaitingRoom, engine, listen_url=listen_url, node=node, notifier=notifier, stager=stager
        )
        self._room: WaitingRoom | None = None

    async def relay(self, job: JobMixin, seconds: float | None) -> Any:
        """Insert a job and wait for its end."""
        return await self._awaited(partial(enqueue, job=job, seconds=seconds, scope=self._scope), seconds)

    async def wait(self, which: int | JobMixin, seconds: float | None) -> Any:
        """Wait for the end of a job that is stored."""
        return await self._awaited(partial(expect, which=which, seconds=seconds, scope=self._scope), seconds)

    async def close(self) -> None:
        """Close the room as soon as nobody is in it."""
        if self._room is not None:
            room, self._room = self._room, None
            await room.close()

    async def _awaited(self, begin: Any, seconds: float | None) -> Any:
        """The room is there before the job is: what fails then has stored nothing."""
        with (await self._open_room()).entered() as watch:
            id_: int = await self._sessions.run(begin)
            return outcome(id_, await _end_of(id_, watch, seconds))

    async def _open_room(self) -> WaitingRoom:
        if self._room is None or not self._room.is_open:
            async with self._engine.connect() as connection:
                home = await connection.run_sync(home_of, schema=self._scope.schema)
            if self._room is None or not self._room.is_open:  # somebody else may have come at the same time
                self._room = self._make_room(home=home)
        return self._room


class Relaying:
    """Waiting for jobs, as `SqlaOban` does it."""

    _relay: Relay

    async def relay(self, job: JobMixin, *, timeout: float | timedelta | None = 30.0) -> Any:  # noqa: ASYNC109 (an option as of `asyncio.wait_for`)
        """Enqueue a job in a transaction of its own, wait until it has ended, and return what its worker recorded.

        That is the value of the `Record` that the worker returned, of any size; None if it returned anything else,
        which is not kept. The job runs wherever its queue does, and with all its attempts. If it is unique and there
        already, that one is waited for.

        Who stops to wait, by a timeout or a cancellation, stops nothing else: the job goes on. A job that relays
        another holds its own place in its queue meanwhile.

        Args:
            job: a new one, as made by a worker's `new`.
            timeout: seconds or a timedelta to wait for its end; None for as long as it takes.

        Raises:
            WaitTimeout: it did not end in time.
            JobDiscarded: it failed in its last attempt; `error` tells how.
            JobCancelled: it was cancelled; `error` tells why, if its worker said so.
            JobDeleted: it was deleted.
            InvalidJob: it is no job, or stored already.
            InvalidArguments: the timeout is none.

        >>> thumbnail = await oban.relay(make_thumbnail.new("a.png"), timeout=10)  # doctest: +SKIP
        """
        return await self._relay.relay(job, checked_seconds(timeout))

    async def wait(self, which: int | JobMixin, *, timeout: float | timedelta | None = 30.0) -> Any:  # noqa: ASYNC109 (likewise)
        """Wait until a job that is stored has ended, and return what its worker recorded, as `relay` does.

        A job that has ended before, and is kept, is answered for at once.

        Args:
            which: the job, or its id; committed, since others are to run it.
            timeout: seconds or a timedelta to wait for its end; None for as long as it takes.

        Raises:
            JobNotFound: there is no job of that id.
            WaitTimeout, JobDiscarded, JobCancelled, JobDeleted, InvalidArguments: as by `relay`.
            InvalidSelection: `which` is no job that was stored.

        >>> thumbnail = await oban.wait(job.id)  # doctest: +SKIP
        """
        return await self._relay.wait(which, checked_seconds(timeout))


def enqueue(session: Session, job: JobMixin, seconds: float | None, scope: Scope) -> int:
    """Insert a job and say that it is waited for: others see both or neither."""
    [stored] = insert_all(session, [job])
    return expect(session, stored.id, seconds, scope)


def expect(session: Session, which: int | JobMixin, seconds: float | None, scope: Scope) -> int:
    """Say that a job is waited for, if it has not ended; returns its id.

    Raises:
        JobNotFound: there is none.
        InvalidSelection: `which` is no job that was stored.
    """
    if not isinstance(which, int | JobMixin):
        raise InvalidSelection(f"one job is waited for, by its id or itself, got {shown(which)}")
    ids = selected(which.id if isinstance(which, JobMixin) and which.conflict else which, scope)
    session.execute(hold_turn(ids, scope.schema))
    found: int | None = session.scalar(mark(ids, scope.schema, during=timedelta(seconds=seconds or MAX_DELAY)))
    if found is None:
        found = session.scalar(select(JOBS.c.id).where(JOBS.c.id.in_(ids)))
    if found is None:
        raise JobNotFound(f"there is no job {which if isinstance(which, int) else which.id} to wait for")
    return found


async def _end_of(id_: int, watch: Watch, seconds: float | None) -> End:
    with watch.expecting(id_) as end:
        try:
            async with asyncio.timeout(seconds):
                return await end
        except TimeoutError:
            raise WaitTimeout(f"job {id_} did not end within {seconds:g} s; it goes on") from None


def outcome(id_: int, end: End) -> Any:
    """What the end of a job is for who has waited for it."""
    told = f": {headline(end.error)}" if end.error else ""
    match end.state:
        case None:
            raise JobDeleted(f"job {id_} was deleted while it was waited for", id_)
        case JobState.CANCELLED:
            raise JobCancelled(f"job {id_} was cancelled{told.replace(': cancelled:', ':', 1)}", id_, end.error)
        case JobState.DISCARDED:
            raise JobDiscarded(f"job {id_} was discarded{told}", id_, end.error)
        case _:
            return None if end.result is None else json.loads(end.result)


def checked_seconds(timeout: object) -> float | None:
    """A timeout in seconds.

    Raises:
        InvalidArguments: it is no span of time, or none that could pass.
    """
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_DELAY:
        raise InvalidArguments(f"timeout must be more than 0 seconds and at most 100 years, got {shown(timeout)}")
    return float(seconds)
