"""pgqueuer: https://pypi.org/project/pgqueuer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from benchmarks.peers.contender import Contender
from benchmarks.peers.witness import Witness

ENTRYPOINT = "noop"
FILL = """
    INSERT INTO pgqueuer (priority, status, entrypoint, payload)
    SELECT 0, 'queued', %s, convert_to(json_build_object('number', n, 'nap', %s::float8)::text, 'UTF8')
    FROM generate_series(0, %s - 1) n
"""
KEEP = """
    INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, aggregated)
    SELECT -n, 'successful', 0, %s, true FROM generate_series(1, %s) n
"""


class PgQueuerContender(Contender):
    """By a single asyncpg connection, as its tuning guide has it; producers by a pool of them."""

    given = (
        "`max_concurrent_tasks=concurrency` and `batch_size=concurrency // 2`, the largest that it allows; `autovac`; "
        "durability `durable`; one asyncpg connection for the worker, a pool for several producers"
    )

    @property
    def version(self) -> str:
        return f"pgqueuer {version('pgqueuer')}, asyncpg {version('asyncpg')}"

    async def prepare(self) -> None:
        connection = await asyncpg.connect(self.url)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    async def fill(self, jobs: int, nap: float) -> None:
        await self.sql(FILL, ENTRYPOINT, nap, jobs)

    async def keep(self, jobs: int) -> None:
        await self.sql(KEEP, ENTRYPOINT, jobs)

    @asynccontextmanager
    async def work(self, concurrency: int, witness: Witness) -> AsyncIterator[None]:
        queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(self.url)))

        async def noop(job: Any) -> None:
            args = json.loads(job.payload)
            await witness.ran(args["number"], args.get("nap", 0))

        queuer.entrypoint(ENTRYPOINT)(noop)
        working = asyncio.create_task(
            queuer.run(batch_size=max(1, concurrency // 2), max_concurrent_tasks=max(2, concurrency))
        )
        await asyncio.sleep(0.2)  # it does not say when it listens
        yield
        queuer.shutdown.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(working, 5)

    async def is_finished(self) -> bool:
        return not await self.sql("SELECT FROM pgqueuer LIMIT 1")

    async def connect(self, connections: int) -> None:
        if connections == 1:
            self._queries = Queries(AsyncpgDriver(await asyncpg.connect(self.url)))
        else:
            pool = await asyncpg.create_pool(self.url, min_size=connections, max_size=connections)
            self._queries = Queries(AsyncpgPoolDriver(pool))

    async def add(self, number: int) -> None:
        await self._queries.enqueue(ENTRYPOINT, payload(number))

    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        many = len(numbers)
        putting_in: Awaitable[object] = self._queries.enqueue(
            [ENTRYPOINT] * many, [payload(number) for number in numbers], [0] * many
        )
        return putting_in

    async def add_at(self, number: int, due: float) -> None:
        await self._queries.enqueue(ENTRYPOINT, payload(number), execute_after=timedelta(seconds=due - time.time()))


def payload(number: int) -> bytes:
    """A job's arguments."""
    return json.dumps({"number": number}).encode()


contender = PgQueuerContender
