"""The call that does a job's work, with everything its function asks for."""

import functools
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.models import JobMixin
from sqla_oban.outcomes import Cancel
from sqla_oban.queries.ack import Ack
from sqla_oban.workers.arguments import Arguments
from sqla_oban.workers.completion import settle
from sqla_oban.workers.providing import Provider

MakeJob = Callable[[], JobMixin]
"""Builds the mapped object of the running job; called only by workers that want it, because it takes its time."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an execution takes place in.

    Args:
        make_job: builds the running job.
        provider: makes sessions and dependencies.
        judge: what a result means.
    """

    make_job: MakeJob
    provider: Provider
    judge: Callable[[object], Ack]


@dataclass(frozen=True, slots=True)
class Settled:
    """A result whose outcome is committed already.

    Args:
        result: what the worker returned.
        ack: what was written of it.
    """

    result: object
    ack: Ack


@dataclass(frozen=True, slots=True)
class Call:
    """How a function worker is called.

    Args:
        function: the worker.
        arguments: its parameters.
        transactional: whether its session and its outcome commit together.
    """

    function: Callable[..., Any]
    arguments: Arguments
    transactional: bool = False

    def prepared(self, stored: object, surroundings: Surroundings, *, asynchronous: bool) -> Callable[[], Any]:
        """The call with the stored arguments, itself without any.

        Raises:
            InvalidArguments: these do not fit.
        """
        values = self.arguments.decode(stored)
        if not self.arguments.parameters.provided and not self.arguments.parameters.references:
            positional, keywords = self.arguments.split(values)
            return functools.partial(self.function, *positional, **keywords)
        return functools.partial(self._run if asynchronous else self._run_in_thread, values, surroundings)

    async def _run(self, values: dict[str, Any], surroundings: Surroundings) -> object:
        provider, parameters = surroundings.provider, self.arguments.parameters
        async with AsyncExitStack() as stack:
            provided = {name: await provider.enter(kind, stack) for name, kind in parameters.provided.items()}
            session: AsyncSession | None = provided.get(parameters.session or "")
            if (gone := await self._load(values, session, provider)) is not None:
                return gone
            positional, keywords = self.arguments.split(values)
            result = await self.function(*positional, **keywords, **provided)
            if not self.transactional or session is None:
                return result
            ack = surroundings.judge(result)
            await session.run_sync(settle, ack, provider.schema)
            await session.commit()
        return Settled(result, ack)

    async def _load(self, values: dict[str, Any], session: AsyncSession | None, provider: Provider) -> Cancel | None:
        """Rows in the worker's session; without one, in another, which is closed before the work begins."""
        if not self.arguments.parameters.references:
            return None
        if session is not None:
            return await session.run_sync(self._load_rows, values)
        async with AsyncExitStack() as stack:
            own: AsyncSession = await provider.enter(AsyncSession, stack)
            return await own.run_sync(self._load_detached, values)

    def _run_in_thread(self, values: dict[str, Any], surroundings: Surroundings) -> object:
        provider, parameters = surroundings.provider, self.arguments.parameters
        with ExitStack() as stack:
            provided = {name: provider.open(kind, stack) for name, kind in parameters.provided.items()}
            session: Session | None = provided.get(parameters.session or "")
            if (gone := self._load_in_thread(values, session, provider)) is not None:
                return gone
            positional, keywords = self.arguments.split(values)
            result = self.function(*positional, **keywords, **provided)
            if not self.transactional or session is None:
                return result
            ack = surroundings.judge(result)
            settle(session, ack, provider.schema)
            session.commit()
        return Settled(result, ack)

    def _load_in_thread(self, values: dict[str, Any], session: Session | None, provider: Provider) -> Cancel | None:
        if not self.arguments.parameters.references:
            return None
        if session is not None:
            return self._load_rows(session, values)
        with ExitStack() as stack:
            return self._load_detached(provider.open(Session, stack), values)

    def _load_detached(self, session: Session, values: dict[str, Any]) -> Cancel | None:
        gone = self._load_rows(session, values)
        session.expunge_all()
        return gone

    def _load_rows(self, session: Session, values: dict[str, Any]) -> Cancel | None:
        """Put rows where keys were; what is to become of the job if one that it cannot do without is gone."""
        for name, reference in self.arguments.parameters.references.items():
            if (key := values.get(name)) is not None:
                values[name] = session.get(reference.target, key)
                if values[name] is None and not reference.optional:
                    return Cancel(reference.gone(key))
        return None
