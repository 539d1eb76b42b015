"""Runs a worker's call where it belongs: as a task of the event loop, or in a thread."""

import asyncio
import contextvars
import inspect
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from typing import Any, ParamSpec, Protocol, TypeVar

from sqla_oban.errors import DeclarationError

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

LAST_WORDS = 1.0
"""Seconds that a thread has to end by itself after it was told to stop."""


class Dispatcher(Protocol):
    """Runs calls.

    The contract, which a test suite checks for each kind: the call's result is returned and its exception raised;
    context variables of the caller are visible to it; when the awaiting task is cancelled, the call is told so, as
    far as its kind allows, and its result still counts if it ends at once.
    """

    async def run(self, call: Callable[[], Any]) -> Any:
        """Run `call` and return its result."""


class AsyncDispatcher:
    """Awaits the call in the task that asks for it."""

    async def run(self, call: Callable[[], Any]) -> Any:
        """Await what `call` makes."""
        return await call()


class ThreadDispatcher:
    """Runs the call in a thread of a pool, so that it may block.

    A thread cannot be stopped from outside: one that goes on after it was told to stop is left behind, with a
    warning. The pool's threads are daemons, so that such a one does not keep the process from ending.
    """

    def __init__(self) -> None:
        self._pool = DaemonPool()

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown()

    async def run(self, call: Callable[[], Any]) -> Any:
        """Run `call` in a thread and wait for it."""
        context = contextvars.copy_context()
        ended = asyncio.get_running_loop().run_in_executor(self._pool, context.run, _outcome, call)
        try:
            result, error = await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not ended.done():
                await asyncio.wait([ended], timeout=LAST_WORDS)
            if not ended.done():
                log.warning(
                    "a sync worker goes on in its thread after it was told to stop; watch current_job().cancelled"
                )
                raise
            result, error = ended.result()
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        if inspect.iscoroutine(result):
            result.close()
            raise DeclarationError("a sync worker returned a coroutine: declare it with `async def`")
        return result


def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Result and exception as values.

    A future refuses StopIteration, so that its waiter waits for ever, and puts another TimeoutError, without the
    traceback, in the place of the one that was raised.
    """
    try:
        return call(), None
    except BaseException as error:
        return None, error


class DaemonPool(Pool):
    """As many daemon threads as there were ever calls at the same time; the queues' limits bound them."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` in an idle thread, or in a new one."""
        if self._closed:
            raise RuntimeError("the pool is closed")
        future: Future[T] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        if not self._idle.acquire(blocking=False):
            self._threads += 1
            threading.Thread(target=self._work, name="sqla_oban worker", daemon=True).start()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 (the base's)
        """Let each thread end once it is idle; waits for none of them."""
        self._closed = True
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            _fulfil(*item)
            del item
            self._idle.release()


def _fulfil(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
