"""The call that does a job's work, with everything its function asks for."""

import functools
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.outcomes import Cancel
from sqla_oban.queries.ack import Ack
from sqla_oban.workers.bodies import Body, MakeJob
from sqla_oban.workers.completion import refuse_autocommit, settle
from sqla_oban.workers.providing import ROWS, Provider


@dataclass(slots=True)  # not frozen: one is made for each execution, and that makes it slow
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
    """How a worker is called.

    Args:
        body: what is called.
        asynchronous: whether it is awaited, or runs in a thread.
        transactional: whether its session and its outcome commit together.
    """

    body: Body
    asynchronous: bool
    transactional: bool = False

    def prepared(self, stored: object, surroundings: Surroundings) -> Callable[[], Any]:
        """The call with the stored arguments, itself without any.

        Raises:
            InvalidArguments: these do not fit.
        """
        values = self.body.decode(stored)
        parameters = self.body.parameters
        if not parameters.provided and not parameters.references:
            return self.body.bound(values, surroundings.make_job)
        return functools.partial(self._run if self.asynchronous else self._run_in_thread, values, surroundings)

    async def _run(self, values: dict[str, Any], surroundings: Surroundings) -> object:
        provider, parameters = surroundings.provider, self.body.parameters
        async with AsyncExitStack() as stack:
            provided = {name: await provider.enter(kind, stack) for name, kind in parameters.provided.items()}
            session: AsyncSession | None = provided.get(parameters.session or "")
            if self.transactional and session is not None:
                await session.run_sync(refuse_autocommit)
            if (gone := await self._load(values, session, provider)) is not None:
                return gone
            result = await self.body.bound(values, surroundings.make_job)(**provided)
            if not self.transactional or session is None:
                return result
            ack = surroundings.judge(result)
            await session.run_sync(settle, ack, provider.schema)
            await session.commit()
            return Settled(result, ack)

    async def _load(self, values: dict[str, Any], session: AsyncSession | None, provider: Provider) -> Cancel | None:
        """Rows in the worker's session; without one, in another, which is closed before the work begins."""
        if not self.body.parameters.references:
            return None
        if session is not None:
            return await session.run_sync(self._load_rows, values)
        async with AsyncExitStack() as stack:
            own: AsyncSession = await provider.enter(AsyncSession, stack, ROWS)
            return await own.run_sync(self._load_detached, values)

    def _run_in_thread(self, values: dict[str, Any], surroundings: Surroundings) -> object:
        provider, parameters = surroundings.provider, self.body.parameters
        with ExitStack() as stack:
            provided = {name: provider.open(kind, stack) for name, kind in parameters.provided.items()}
            session: Session | None = provided.get(parameters.session or "")
            if self.transactional and session is not None:
                refuse_autocommit(session)
            if (gone := self._load_in_thread(values, session, provider)) is not None:
                return gone
            result = self.body.bound(values, surroundings.make_job)(**provided)
            if not self.transactional or session is None:
                return result
            ack = surroundings.judge(result)
            settle(session, ack, provider.schema)
            session.commit()
            return Settled(result, ack)

    def _load_in_thread(self, values: dict[str, Any], session: Session | None, provider: Provider) -> Cancel | None:
        if not self.body.parameters.references:
            return None
        if session is not None:
            return self._load_rows(session, values)
        with ExitStack() as stack:
            return self._load_detached(provider.open(Session, stack, ROWS), values)

    def _load_detached(self, session: Session, values: dict[str, Any]) -> Cancel | None:
        gone = self._load_rows(session, values)
        session.expunge_all()
        return gone

    def _load_rows(self, session: Session, values: dict[str, Any]) -> Cancel | None:
        """Put rows where keys were; what is to become of the job if one that it cannot do without is gone."""
        for name, reference in self.body.parameters.references.items():
            if (key := values.get(name)) is not None:
                values[name] = session.get(reference.target, key)
                if values[name] is None and not reference.optional:
                    return Cancel(reference.gone(key))
        return None
