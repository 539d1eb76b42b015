"""What the helpers work on: a session of the test's, or the database of a runner."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from sqla_oban.control.sessions import Sessions
from sqla_oban.errors import InvalidArguments, shown
from sqla_oban.runner import SqlaOban

T = TypeVar("T")

SyncTarget: TypeAlias = Session | scoped_session[Session]
"""With it a helper is a plain call."""
AsyncTarget: TypeAlias = AsyncSession | async_scoped_session[AsyncSession] | SqlaOban | AsyncEngine
"""With it a helper is awaited."""
Target: TypeAlias = SyncTarget | AsyncTarget


class Ground(Protocol):
    """Where the helpers' statements run."""

    async def run(self, work: Callable[[Session], T]) -> T:
        """What `work` returns."""


class InSession:
    """Runs everything in one session, as part of its transaction.

    Args:
        session: a sync one; that of an AsyncSession is driven by the running loop.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def run(self, work: Callable[[Session], T]) -> T:
        """What `work` returns."""
        return await greenlet_spawn(work, self._session)


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
            return _own_sessions(target.engine, target.settings.schema)
        case AsyncEngine():
            return _own_sessions(target, None)
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


def _own_sessions(engine: AsyncEngine, schema: str | None) -> Sessions:
    return Sessions(async_sessionmaker(engine, expire_on_commit=False), schema)
