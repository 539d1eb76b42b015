"""Runs a worker's call in another process."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from sqla_oban.engine.dispatchers.dispatcher import LAST_WORDS
from sqla_oban.engine.dispatchers.process_pool import ProcessPool
from sqla_oban.engine.dispatchers.wire import Order, Outcome, Reply, Stop
from sqla_oban.engine.dispatchers.worker_process import WorkerProcess
from sqla_oban.engine.execution import Execution
from sqla_oban.workers.registry import Registry


class ProcessDispatcher:
    """Has the work of a claimed job done by a process of the pool, which makes the call anew.

    A worker that does not end within a second after it was told to stop is killed with its process, and so is what
    it started there. A process that dies fails the job that it runs, and no other.

    What a worker returns crosses only if it says how the job ends; whatever else, it means that the job is completed.

    Args:
        holder: `[node, producer]`, as the jobs are claimed by.
    """

    def __init__(self, pool: ProcessPool, registry: Registry, *, queue: str, holder: list[str]) -> None:
        self._pool = pool
        self._registry = registry
        self._queue = queue
        self._holder = holder

    async def run(self, call: Callable[[], Any], execution: Execution) -> Outcome:
        """Run what `execution` is to do in a process and wait for it.

        Raises:
            Raised: what the worker raised there.
            WorkerDied: its process ended before it did.
        """
        claimed = execution.claimed
        module = self._registry.get(claimed.worker).module
        part = None if execution.running is None else execution.running.part
        order = Order(claimed, self._queue, self._holder, module, execution.own or {}, part)
        process = await self._pool.take()
        execution.begin()
        answer = self._pool.submit(process.ask, order)
        answer.add_done_callback(partial(self._pool.give_back, process))
        try:
            reply = await asyncio.shield(answer)
        except asyncio.CancelledError:
            stop = Stop(order.key, cancelled=execution.cancelled)
            await self._stop(process, stop, answer)
            if not answer.done() or answer.exception() is not None:
                raise
            reply = answer.result()
        return _result(reply)

    async def _stop(self, process: WorkerProcess, stop: Stop, answer: asyncio.Future[Reply]) -> None:
        """Tell the worker to end; when this returns or raises, it has ended or its process has been killed."""
        self._pool.submit(process.tell, stop)
        try:
            await asyncio.wait([answer], timeout=LAST_WORDS)
        finally:
            if not answer.done():
                process.kill()
        await asyncio.wait([answer], timeout=LAST_WORDS)


def _result(reply: Reply) -> Outcome:
    if reply.stopped:
        raise asyncio.CancelledError
    if reply.raised is not None:
        raise reply.raised
    return reply.outcome
