"""The least that any queue on this table has to do, by the driver itself: the limit that the others are measured by.

The table is ours without its trigger. A batch is claimed and acknowledged on one connection, batch after batch,
with nothing run in between.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

import asyncpg

from benchmarks.peers.contender import Missing
from benchmarks.peers.own_table import QUEUE, OwnTable
from benchmarks.peers.witness import Witness

CHANNEL = "bench"
POLL = 1.0
CLAIM = """
    WITH picked AS MATERIALIZED (
      SELECT id FROM oban_jobs WHERE state = 'available' AND queue = $1
      ORDER BY priority, scheduled_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)
    UPDATE oban_jobs j SET state = 'executing', attempt = attempt + 1, attempted_by = ARRAY['bare', 'sql'],
      attempted_at = timezone('UTC', clock_timestamp())
    FROM picked WHERE j.id = picked.id RETURNING j.id, j.worker, (j.args->>'number')::int AS number, j.attempted_at
"""
ACK = """
    UPDATE oban_jobs j SET state = 'completed', completed_at = timezone('UTC', clock_timestamp())
    FROM unnest($1::bigint[], $2::timestamp[]) AS done(id, attempted_at)
    WHERE j.id = done.id AND j.attempted_at = done.attempted_at AND j.state = 'executing'
"""
ADD = "INSERT INTO oban_jobs (queue, worker, args) VALUES ($1, 'benchmarks.noop', $2) RETURNING id"
ADD_MANY = """
    INSERT INTO oban_jobs (queue, worker, args)
    SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[]) RETURNING id
"""


class BareContender(OwnTable):
    """Option: `ring` to send a NOTIFY with each job that is put in."""

    given = (
        "one asyncpg connection; claims of `concurrency` rows and acknowledgements by unnest, in turns; for the "
        "latency a NOTIFY in the transaction of the INSERT"
    )

    def __init__(self, url: str, *options: str) -> None:
        super().__init__(url, *options)
        self._idle: list[Any] = []
        self._rung = asyncio.Event()

    @property
    def version(self) -> str:
        return f"asyncpg {version('asyncpg')}"

    async def prepare(self) -> None:
        await super().prepare()
        await self.sql("DROP TRIGGER oban_jobs_wake ON oban_jobs")

    @asynccontextmanager
    async def work(self, concurrency: int, witness: Witness) -> AsyncIterator[None]:
        connection = await asyncpg.connect(self.url)
        await connection.add_listener(CHANNEL, lambda *_: self._rung.set())
        working = asyncio.create_task(self._work(connection, concurrency, witness))
        yield
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        connection.terminate()

    async def connect(self, connections: int) -> None:
        self._idle = [await asyncpg.connect(self.url) for _ in range(connections)]

    async def add(self, number: int) -> None:
        connection = self._idle.pop()
        async with connection.transaction():
            await connection.fetch(ADD, QUEUE, json.dumps({"number": number}))
            await self._ring(connection)
        self._idle.append(connection)

    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        many = len(numbers)
        args = [json.dumps({"number": number}) for number in numbers]
        return self._insert([QUEUE] * many, ["benchmarks.noop"] * many, args)

    async def _insert(self, *columns: list[str]) -> None:
        async with self._idle[0].transaction():
            await self._idle[0].fetch(ADD_MANY, *columns)
            await self._ring(self._idle[0])

    async def add_at(self, number: int, due: float) -> None:
        raise Missing("has no schedule")

    async def _ring(self, connection: Any) -> None:
        if "ring" in self.options:
            await connection.execute(f"NOTIFY {CHANNEL}")

    async def _work(self, connection: Any, concurrency: int, witness: Witness) -> None:
        while True:
            self._rung.clear()
            while rows := await connection.fetch(CLAIM, QUEUE, concurrency):
                for row in rows:
                    witness.saw(row["number"])
                await connection.execute(ACK, [row["id"] for row in rows], [row["attempted_at"] for row in rows])
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), POLL)


contender = BareContender
