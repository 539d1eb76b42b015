"""What the machine itself makes of several busy processes: the work of the jobs, without a queue in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from multiprocessing import get_context
from platform import python_version

from benchmarks.peers.burner import keep_busy
from benchmarks.peers.contender import Contender, Missing
from benchmarks.peers.witness import Witness


class PlainContender(Contender):
    """Processes of concurrent.futures."""

    given = "`concurrent.futures.ProcessPoolExecutor`, spawned, one process for each that is counted"

    @property
    def version(self) -> str:
        return f"Python {python_version()}"

    async def prepare(self) -> None:
        """There is nothing to make."""

    @asynccontextmanager
    async def burn(self, jobs: int, concurrency: int, witness: Witness) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(concurrency, get_context("spawn")) as pool:

            async def run(number: int) -> None:
                await loop.run_in_executor(pool, keep_busy, number)
                witness.saw(number)

            running = asyncio.gather(*(run(number) for number in range(jobs)))
            yield
            await running

    def work(self, concurrency: int, witness: Witness) -> AbstractAsyncContextManager[None]:
        raise Missing("has no queue")

    async def fill(self, jobs: int, nap: float) -> None:
        raise Missing("has no queue")

    async def is_finished(self) -> bool:
        raise Missing("has no queue")

    async def connect(self, connections: int) -> None:
        raise Missing("has no queue")

    async def add(self, number: int) -> None:
        raise Missing("has no queue")

    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        raise Missing("has no queue")

    async def add_at(self, number: int, due: float) -> None:
        raise Missing("has no queue")


contender = PlainContender
