"""The processes of a node that run jobs."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sqla_oban.engine.dispatchers.daemon_pool import DaemonPool
from sqla_oban.engine.dispatchers.wire import Reply
from sqla_oban.engine.dispatchers.worker_process import WorkerProcess
from sqla_oban.settings import ProcessSettings

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class ProcessPool:
    """Hands out processes, one to each job that runs, and uses them again.

    There are as many as there were ever jobs in processes at the same time, and at least `warm` once it was started.
    One that has died, has run enough jobs or has grown too large is replaced. All that blocks is done in threads.

    Args:
        warm: how many are to be there before they are needed.
        most: how many are kept at most.
    """

    def __init__(
        self, settings: ProcessSettings, *, schema: str | None, warm: Callable[[], int], most: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._schema = schema
        self._warm = warm
        self._most = most
        self._threads = DaemonPool()
        self._all: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._tasks: set[asyncio.Future[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start one process, to see that they can be started.

        Raises:
            ProcessNotStarted: they cannot.
        """
        self._put(await self._started())

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Call what blocks in a thread."""
        return asyncio.wrap_future(self._threads.submit(function, *args, **kwargs))

    async def take(self) -> WorkerProcess:
        """A process that has nothing to do; to be given back.

        Raises:
            ProcessNotStarted: none could be started.
        """
        while self._idle:
            process = self._idle.pop()  # the one that was used last: it is warmest
            if process.is_alive:
                return process
            self._retire(process)
        return await self._started()

    def give_back(self, process: WorkerProcess, answer: asyncio.Future[Reply]) -> None:
        """A process is idle again, or dead, as its answer says."""
        if answer.exception() is not None or self._is_worn(process, answer.result()):
            self._retire(process)
        else:
            self._put(process)
        self.top_up()

    def top_up(self) -> None:
        """Start in the background what is missing."""
        if not self._closed and (self._keeper is None or self._keeper.done()) and len(self._all) < self._warm():
            self._keeper = asyncio.create_task(self._keep(), name="sqla_oban processes")

    async def close(self) -> None:
        """End all of them: those that are idle by themselves, the others at once."""
        self._closed = True
        for process in self._all - set(self._idle):
            process.kill()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for process in list(self._all):
            self._retire(process)
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown()

    async def _keep(self) -> None:
        while len(self._all) < self._warm():
            try:
                self._put(await self._started())
            except Exception as error:
                log.warning("a process for jobs could not be started in advance: %s", error)
                return

    async def _started(self) -> WorkerProcess:
        """A new one; if nobody waits for it any more when it has started, it is idle."""
        if self._closed:
            raise RuntimeError("the pool is closed")
        process = WorkerProcess(self._settings, self._schema)
        self._all.add(process)
        starting = self._watched(self.submit(process.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(lambda done: self._put(process) if done.exception() is None else None)
            raise
        finally:
            starting.add_done_callback(
                lambda done: self._all.discard(process) if done.exception() is not None else None
            )
        return process

    def _put(self, process: WorkerProcess) -> None:
        if self._closed or len(self._all) > self._most():
            self._retire(process)
        else:
            self._idle.append(process)

    def _retire(self, process: WorkerProcess) -> None:
        if process in self._all:
            self._all.discard(process)
            with contextlib.suppress(ValueError):
                self._idle.remove(process)
            self._watched(self.submit(process.end))

    def _is_worn(self, process: WorkerProcess, reply: Reply) -> bool:
        settings = self._settings
        return (settings.max_jobs is not None and process.jobs >= settings.max_jobs) or (
            settings.max_memory is not None and reply.memory > settings.max_memory
        )

    def _watched(self, work: asyncio.Future[None]) -> asyncio.Future[None]:
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)
        return work
