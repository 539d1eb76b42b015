"""awa: https://pypi.org/project/awa-pg."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import awa

from benchmarks.peers.contender import Contender, Missing
from benchmarks.peers.witness import Witness

QUEUE = "bench"
CHUNK = 50_000


@dataclass
class Noop:
    """The arguments of the only kind of job."""

    number: int
    nap: float = 0


class AwaContender(Contender):
    """By its async client."""

    given = (
        "the queue storage that it puts a fresh database on, `max_workers=concurrency`, 20 connections, "
        "`enqueue_many_copy` in bulk; when all is written its tables cannot be asked cheaply, so a drain ends with "
        "the last job's start"
    )

    @property
    def version(self) -> str:
        return f"awa-pg {version('awa-pg')}"

    async def prepare(self) -> None:
        async with awa.AsyncClient(self.url) as client:
            await client.migrate()
        async with self.work(1, Witness()):
            pass  # the first worker of a fresh database puts it on the queue storage

    async def fill(self, jobs: int, nap: float) -> None:
        client = awa.AsyncClient(self.url)
        for first in range(0, jobs, CHUNK):
            numbers = range(first, min(first + CHUNK, jobs))
            await client.enqueue_many_copy([Noop(number, nap) for number in numbers], queue=QUEUE)
        await client.close()

    async def keep(self, jobs: int) -> None:
        raise Missing("moves jobs that have ended through tables of its own, which cannot be filled from outside")

    @asynccontextmanager
    async def work(self, concurrency: int, witness: Witness) -> AsyncIterator[None]:
        client = awa.AsyncClient(self.url, max_connections=20)

        async def noop(job: Any) -> None:
            await witness.ran(job.args.number, job.args.nap)

        client.task(Noop, queue=QUEUE)(noop)
        await client.start([(QUEUE, concurrency)])
        yield
        await client.shutdown()
        await client.close()

    async def is_finished(self) -> bool:
        return True

    async def connect(self, connections: int) -> None:
        self._client = awa.AsyncClient(self.url, max_connections=connections)

    async def add(self, number: int) -> None:
        await self._client.insert(Noop(number), queue=QUEUE)

    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        putting_in: Awaitable[object] = self._client.enqueue_many_copy(
            [Noop(number) for number in numbers], queue=QUEUE
        )
        return putting_in

    async def add_at(self, number: int, due: float) -> None:
        await self._client.insert(Noop(number), queue=QUEUE, run_at=datetime.fromtimestamp(due, UTC))


contender = AwaContender
