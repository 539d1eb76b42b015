"""The executors of a node's queues, and the threads and processes that they share."""

from collections.abc import Callable, Mapping

from sqla_oban.engine.database import Link
from sqla_oban.engine.dispatchers import AsyncDispatcher, Dispatcher, ProcessDispatcher, ProcessPool, ThreadDispatcher
from sqla_oban.engine.executor import Executor
from sqla_oban.engine.parts import by
from sqla_oban.settings import ExecutorKind, ProcessSettings, QueueConfig
from sqla_oban.workers.providing import Provider
from sqla_oban.workers.registry import REGISTRY


class Executors:
    """Makes the executor of each queue.

    Args:
        configured: the queues that the runner was started with.
        limits: the limits of those that run now; as many processes are there in advance as queues for processes need.
        provider: makes what workers ask for besides their arguments.
        link: what is to be read before their work begins is read by it.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        configured: Mapping[str, QueueConfig],
        limits: Callable[[], Mapping[str, int]],
        *,
        node: str,
        provider: Provider,
        link: Link,
    ) -> None:
        self._configured = configured
        self._limits = limits
        self._node = node
        self._provider = provider
        self._look = by(link)
        self._tasks = AsyncDispatcher()
        self._threads = ThreadDispatcher()
        self._processes = ProcessPool(settings, schema=provider.schema, warm=self._needed, most=self._most)

    def make(self, queue: str, holder: list[str]) -> Executor:
        """The executor for the jobs of a queue that are claimed by `holder`."""
        dispatchers: dict[ExecutorKind, Dispatcher] = {
            ExecutorKind.ASYNC: self._tasks,
            ExecutorKind.THREAD: self._threads,
            ExecutorKind.PROCESS: ProcessDispatcher(self._processes, REGISTRY, queue=queue, holder=holder),
        }
        return Executor(
            REGISTRY,
            dispatchers,
            node=self._node,
            queue=queue,
            holder=holder,
            provider=self._provider,
            look=self._look,
            otherwise=self._otherwise(queue),
        )

    async def start(self) -> None:
        """Where a queue is for processes, see that they can be started.

        Raises:
            ProcessNotStarted: they cannot.
        """
        if any(self._otherwise(queue) is ExecutorKind.PROCESS for queue in self._configured):
            await self._processes.start()

    def warm_up(self) -> None:
        """Start as many processes in the background as the queues that run may need."""
        self._processes.top_up()

    async def close(self) -> None:
        """Let threads and processes end."""
        self._threads.close()
        await self._processes.close()

    def _otherwise(self, queue: str) -> ExecutorKind | None:
        config = self._configured.get(queue)
        return None if config is None or config.executor is None else ExecutorKind(config.executor)

    def _needed(self) -> int:
        return sum(limit for queue, limit in self._limits().items() if self._otherwise(queue) is ExecutorKind.PROCESS)

    def _most(self) -> int:
        return sum(self._limits().values())
