"""oban.py: https://pypi.org/project/oban."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import oban
from oban.schema import install_sql
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.contender import Contender
from benchmarks.peers.witness import Witness

QUEUE = "bench"
FILL = """
    INSERT INTO oban_jobs (queue, worker, args)
    SELECT %s, %s, jsonb_build_object('number', n, 'nap', %s::float8) FROM generate_series(0, %s - 1) n
"""
KEEP = """
    INSERT INTO oban_jobs (queue, worker, args, state, attempt, scheduled_at, attempted_at, completed_at)
    SELECT %s, %s, jsonb_build_object('number', n), 'completed', 1, moment, moment, moment
    FROM generate_series(0, %s - 1) n, timezone('UTC', now()) moment
"""
UNFINISHED = """
    SELECT FROM oban_jobs WHERE state = 'available' UNION ALL SELECT FROM oban_jobs WHERE state = 'executing' LIMIT 1
"""

seen = Witness()


class Noop:
    """A worker that does nothing."""

    async def process(self, job: Any) -> None:
        await seen.ran(job.args["number"], job.args.get("nap", 0))


NOOP: Any = oban.worker(queue=QUEUE)(Noop)
WORKER = f"{Noop.__module__}.{Noop.__qualname__}"


class ObanContender(Contender):
    """By a psycopg pool, the only one that it takes."""

    given = (
        "`queues={'bench': concurrency}` with the default debounce of 5 ms (it acknowledges and fetches in batches "
        "of what ended meanwhile; its bulk acknowledgement is a paid part), a pool of 4 to 10 connections, "
        "`enqueue_many` in bulk"
    )

    @property
    def version(self) -> str:
        return f"oban {version('oban')}, psycopg {version('psycopg')}"

    async def prepare(self) -> None:
        await self.sql(install_sql())

    async def fill(self, jobs: int, nap: float) -> None:
        await self.sql(FILL, QUEUE, WORKER, nap, jobs)

    async def keep(self, jobs: int) -> None:
        await self.sql(KEEP, QUEUE, WORKER, jobs)

    @asynccontextmanager
    async def work(self, concurrency: int, witness: Witness) -> AsyncIterator[None]:
        global seen  # noqa: PLW0603 (workers are made by the library)
        seen = witness
        async with (
            AsyncConnectionPool(self.url, min_size=4, max_size=10) as pool,
            oban.Oban(pool=pool, queues={QUEUE: concurrency}),
        ):
            yield

    async def is_finished(self) -> bool:
        return not await self.sql(UNFINISHED)

    async def connect(self, connections: int) -> None:
        pool = AsyncConnectionPool(self.url, min_size=connections, max_size=connections, open=False)
        await pool.open(wait=True)
        self._client = oban.Oban(pool=pool)

    async def add(self, number: int) -> None:
        await self._client.enqueue(NOOP.new({"number": number}))

    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        putting_in: Awaitable[object] = self._client.enqueue_many([NOOP.new({"number": number}) for number in numbers])
        return putting_in

    async def add_at(self, number: int, due: float) -> None:
        await self._client.enqueue(NOOP.new({"number": number}, scheduled_at=datetime.fromtimestamp(due, UTC)))


contender = ObanContender
