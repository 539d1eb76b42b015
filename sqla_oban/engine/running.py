"""The jobs of one producer that run here."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqla_oban.engine.acker import Acker
from sqla_oban.engine.execution import Execution
from sqla_oban.engine.executor import Executor
from sqla_oban.engine.parts import NO_PARTS, Parts
from sqla_oban.queries.ack import Ack
from sqla_oban.queries.claim import Claimed

T = TypeVar("T")

log = logging.getLogger(__name__)


class Running:
    """Runs jobs as tasks, and hands over how they ended.

    Its length is the number of places that are taken in the queue's limit: a job's place is free when no code of it
    runs any more, so that a thread that could not be stopped keeps it. Otherwise jobs that hang would pile up threads.

    Args:
        on_ended: called when a place has become free.
    """

    def __init__(self, executor: Executor, acker: Acker, on_ended: Callable[[], None]) -> None:
        self._executor = executor
        self._acker = acker
        self._on_ended = on_ended
        self._executions: set[Execution] = set()
        self._leftovers: set[asyncio.Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._executions) + len(self._leftovers)

    @property
    def ids(self) -> tuple[int, ...]:
        """All of them."""
        return tuple(sorted(execution.claimed.id for execution in self._executions))

    @property
    def kept_ids(self) -> list[int]:
        """Those that were not given up."""
        return [execution.claimed.id for execution in self._executions if not execution.abandoned]

    async def look_up(self, claimed: Sequence[Claimed]) -> Parts:
        """The places in workflows of jobs that are to be started, together; if that fails, each looks for itself."""
        try:
            return await self._executor.look_up([row.id for row in claimed])
        except Exception as error:
            log.warning("the places of %d jobs in workflows could not be looked up together: %s", len(claimed), error)
            return NO_PARTS

    def start(self, claimed: Iterable[Claimed], parts: Parts = NO_PARTS) -> None:
        """Set jobs running."""
        for row in claimed:
            execution = Execution(row, parts)
            self._executions.add(execution)
            execution.task = task = _begun(self._executor.execute(execution))
            if task.done():
                self._ended(execution, task)
            else:
                task.add_done_callback(partial(self._ended, execution))

    def cancel(self, job_id: int, attempt: int | None) -> None:
        """Stop a job if it runs here, in that attempt or whichever it is in; it ends as cancelled."""
        for execution in self._executions:
            if execution.claimed.id == job_id and attempt in (None, execution.claimed.attempt):
                execution.cancel()

    def abandon(self) -> tuple[int, ...]:
        """Stop all of them, without an outcome; says which there were."""
        for execution in self._executions:
            execution.abandon()
        return self.ids

    async def drain(self, seconds: float) -> None:
        """Wait for all of them to end, at most so long."""
        if tasks := [execution.task for execution in self._executions if execution.task is not None]:
            await asyncio.wait(tasks, timeout=seconds)

    def _ended(self, execution: Execution, task: asyncio.Task[Ack | None]) -> None:
        """First into the acker, then out of here: a job is never in neither."""
        if not task.cancelled() and (ack := task.result()) is not None:
            self._acker.add(ack)
        self._executions.discard(execution)
        if execution.leftover is not None:
            self._leftovers.add(execution.leftover)
            execution.leftover.add_done_callback(self._left)
        self._on_ended()

    def _left(self, leftover: asyncio.Future[Any]) -> None:
        self._leftovers.discard(leftover)
        self._on_ended()


def _begun(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task for `work` that has got as far as it goes without waiting, from Python 3.12 on; one to be begun before.

    A job that never waits then costs no turn of the event loop.
    """
    if sys.version_info >= (3, 12):
        return asyncio.eager_task_factory(asyncio.get_running_loop(), work)
    else:  # noqa: RET505 (mypy sees only one of the two)
        return asyncio.get_running_loop().create_task(work)
