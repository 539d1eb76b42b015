"""The runner's own executor, watched."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.engine.directly import Rows
from sqla_oban.engine.dispatchers import AsyncDispatcher, Dispatcher, ThreadDispatcher
from sqla_oban.engine.execution import Execution
from sqla_oban.engine.executor import Executor
from sqla_oban.engine.parts import Look
from sqla_oban.errors import NotProvided
from sqla_oban.queries.ack import Ack
from sqla_oban.queries.claim import Claimed
from sqla_oban.queries.workflow import PLACES
from sqla_oban.settings import ExecutorKind
from sqla_oban.workers.calls import Settled
from sqla_oban.workers.definition import Definition
from sqla_oban.workers.providing import Provider
from sqla_oban.workers.registry import REGISTRY

NODE = "testing"
HOLDER = [NODE, str(uuid4())]
"""Who has claimed a job that a test runs: no producer of a runner's, so that no leader takes it for a dead one's."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How one execution went.

    Args:
        ack: what a runner would write; None if the worker has written it in its own transaction.
        value: what the worker returned.
        error: the exception that failed the attempt.
    """

    ack: Ack | None
    value: object
    error: BaseException | None


class Witness(Executor):
    """Runs jobs as a runner does, and keeps what a runner has no use for: the value and the exception themselves."""

    def __init__(self, dispatchers: Mapping[ExecutorKind, Dispatcher], queue: str, provider: Provider) -> None:
        look = _in_sessions(provider)
        super().__init__(REGISTRY, dispatchers, node=NODE, queue=queue, holder=HOLDER, provider=provider, look=look)
        self._value: object = None
        self._error: BaseException | None = None

    async def watch(self, claimed: Claimed, own: Mapping[str, Any] | None) -> Seen:
        """Run a claimed job in a task of its own, as its timeout and `current_job()` need it."""
        execution = Execution(claimed)
        execution.own = own
        execution.task = asyncio.create_task(self.execute(execution))
        return Seen(await execution.task, self._value, self._error)

    def _place(self, definition: Definition) -> ExecutorKind:
        """Here in any case: nothing of a test's transaction is to be seen from another process."""
        return definition.natural

    async def _call(self, job: Execution) -> object:
        result = await super()._call(job)
        self._value = result.result if isinstance(result, Settled) else result
        return result

    def _failed(self, job: Execution, error: BaseException) -> Ack:
        self._error = error
        return super()._failed(job, error)


async def witness(claimed: Claimed, queue: str, provider: Provider, own: Mapping[str, Any] | None = None) -> Seen:
    """Run a claimed job of `queue` here and now; never raises what its worker raises.

    Args:
        claimed: the row.
        queue: where it was claimed.
        provider: makes what the worker asks for.
        own: the values of the columns that its class has of its own; None: as they are stored.
    """
    threads = ThreadDispatcher()
    dispatchers: dict[ExecutorKind, Dispatcher] = {ExecutorKind.ASYNC: AsyncDispatcher(), ExecutorKind.THREAD: threads}
    try:
        return await Witness(dispatchers, queue, provider).watch(claimed, own)
    finally:
        threads.close()


def _in_sessions(provider: Provider) -> Look:
    """Looks in a session of the test's, which sees what is not committed."""

    async def look(ids: list[int]) -> Rows:
        async with AsyncExitStack() as stack:
            try:
                session: AsyncSession = await provider.enter(AsyncSession, stack)
            except NotProvided:  # in a test that has a sync session only
                with ExitStack() as guests:
                    return _places(provider.open(Session, guests), ids, provider.schema)
            return await session.run_sync(_places, ids, provider.schema)

    return look


def _places(session: Session, ids: list[int], schema: str | None) -> Rows:
    options: dict[str, Any] = {} if schema is None else {"schema_translate_map": {None: schema}}
    return session.execute(PLACES, {"ids": ids}, execution_options=options).all()
