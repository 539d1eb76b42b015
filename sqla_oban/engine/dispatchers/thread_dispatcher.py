"""Runs a worker's call in a thread."""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from sqla_oban.engine.dispatchers.daemon_pool import DaemonPool
from sqla_oban.engine.dispatchers.dispatcher import LAST_WORDS, awaited_by_nobody
from sqla_oban.engine.execution import Execution

log = logging.getLogger(__name__)


class ThreadDispatcher:
    """Runs the call in a thread of a pool, so that it may block.

    A thread cannot be stopped from outside: one that goes on after it was told to stop is left behind, with a
    warning, as the execution's leftover. The pool's threads are daemons, so that such a one does not keep the process
    from ending.
    """

    def __init__(self) -> None:
        self._pool = DaemonPool()

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown()

    async def run(self, call: Callable[[], Any], execution: Execution) -> Any:
        """Run `call` in a thread and wait for it."""
        execution.begin()
        context = contextvars.copy_context()
        ended = asyncio.get_running_loop().run_in_executor(self._pool, context.run, _outcome, call)
        try:
            result, error = await asyncio.shield(ended)
        except asyncio.CancelledError:
            try:
                await asyncio.wait([ended], timeout=LAST_WORDS)
            finally:  # also when it is cancelled once more
                if not ended.done():
                    _leave_behind(ended, execution)
            if not ended.done():
                raise
            result, error = ended.result()
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return awaited_by_nobody(result)


def _leave_behind(thread: asyncio.Future[Any], execution: Execution) -> None:
    execution.leftover = thread
    log.warning(
        "a sync worker goes on in its thread after it was told to stop; watch current_job().cancelled. Until it ends, "
        "it keeps its place in the queue"
    )


def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Result and exception as values.

    A future refuses StopIteration, so that its waiter waits for ever, and puts another TimeoutError, without the
    traceback, in the place of the one that was raised.
    """
    try:
        return call(), None
    except BaseException as error:
        return None, error
