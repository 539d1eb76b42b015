"""What the helpers work on: a session of the test's, or the database of a runner."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from sqla_oban.control.sessions import Sessions
from sqla_oban.errors import InvalidArguments, shown
from sqla_oban.models import Scope
from sqla_oban.queries.notes import SETTLE_NOW
from sqla_oban.runner import SqlaOban
from sqla_oban.workers.providing import Provider

T = TypeVar("T")

SyncTarget: TypeAlias = Session | scoped_session[Session]
"""With it a helper is a plain call."""
AsyncTarget: TypeAlias = AsyncSession | async_scoped_session[AsyncSession] | SqlaOban | AsyncEngine
"""With it a helper is awaited."""
Target: TypeAlias = SyncTarget | AsyncTarget


class Ground(Protocol):
    """Where the helpers' statements run, and the sessions of the workers."""

    @property
    def provider(self) -> Provider:
        """Makes what workers ask for besides their arguments."""

    async def run(self, work: Callable[[Session], T]) -> T:
        """What `work` returns."""


class InSession:
    """Runs everything in one session, as part of its transaction.

    Args:
        session: a sync one; that of an AsyncSession is driven by the running loop.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def provider(self) -> Provider:
        """Workers' sessions are guests in the same transaction: what they commit is released to it."""
        outer = async_session(self._session)
        if outer is None:
            return Provider(dependencies={Session: partial(_guest, self._session)})

        async def make() -> AsyncSession:
            connection = await outer.connection()
            return AsyncSession(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")

        return Provider(make)

    async def run(self, work: Callable[[Session], T]) -> T:
        """What `work` returns; what its commit would settle is settled after it."""
        return await greenlet_spawn(self._settled, work)

    def _settled(self, work: Callable[[Session], T]) -> T:
        result = work(self._session)
        self._session.execute(SETTLE_NOW)
        return result


class InSessions:
    """Runs each work in a session of its own, which commits.

    Args:
        sessions: these.
        provider: makes what workers ask for besides their arguments.
    """

    def __init__(self, sessions: Sessions, provider: Provider) -> None:
        self._sessions = sessions
        self.provider = provider

    async def run(self, work: Callable[[Session], T]) -> T:
        """What `work` returns."""
        return await self._sessions.run(work)


def ground(target: object) -> Ground:
    """Where the statements of a helper that was given `target` run; with a runner or an engine each commits.

    Raises:
        InvalidArguments: that is nothing to run statements in.
    """
    match target:
        case Session():
            return InSession(target)
        case AsyncSession():
            return InSession(target.sync_session)
        case scoped_session() | async_scoped_session():
            return ground(target())
        case SqlaOban():
            return InSessions(Sessions(_factory(target.engine), target.settings.scope), target.settings.provider)
        case AsyncEngine():
            return InSessions(Sessions(_factory(target), Scope()), Provider(_factory(target)))
        case _:
            raise InvalidArguments(
                f"give an AsyncSession, a Session, an AsyncEngine or a SqlaOban, got {shown(target)}"
            )


def answer(target: Target, coroutine: Coroutine[Any, Any, T]) -> T | Coroutine[Any, Any, T]:
    """`coroutine` for whoever can await it, its result for whoever holds a sync session."""
    return result_of(coroutine) if isinstance(target, Session | scoped_session) else coroutine


def result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """From sync code: what `coroutine` returns.

    Code that SQLAlchemy runs for an AsyncSession has a loop below it that can wait. Elsewhere a loop is made in a
    thread of its own: this thread may have one already, which cannot be entered twice, or may want to make one later.
    """
    if in_greenlet():
        return await_only(coroutine)
    with ThreadPoolExecutor(1, thread_name_prefix="sqla_oban testing") as thread:
        return thread.submit(copy_context().run, asyncio.run, coroutine).result()


def _guest(session: Session) -> Session:
    return Session(session.connection(), expire_on_commit=False, join_transaction_mode="create_savepoint")


def _factory(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(engine, expire_on_commit=False)
