"""The table that ourselves and bare SQL work on, and how it is filled."""

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.peers.contender import Contender
from sqla_oban.migrations import migrate

QUEUE = "bench"
FILL = """
    INSERT INTO oban_jobs (queue, worker, args)
    SELECT %s, %s, jsonb_build_object('number', n) || %s::jsonb FROM generate_series(0, %s - 1) n
"""
KEEP = """
    INSERT INTO oban_jobs (queue, worker, args, state, attempt, attempted_by, scheduled_at, attempted_at, completed_at)
    SELECT %s, 'benchmarks.noop', jsonb_build_object('number', n), 'completed', 1, ARRAY['node', 'producer'],
      moment, moment, moment
    FROM generate_series(0, %s - 1) n, timezone('UTC', now()) moment
"""
UNFINISHED = """
    SELECT FROM oban_jobs WHERE state = 'available' UNION ALL SELECT FROM oban_jobs WHERE state = 'executing' LIMIT 1
"""


class OwnTable(Contender):
    """A contender on `oban_jobs` as our migration makes it."""

    async def prepare(self) -> None:
        engine = create_async_engine(make_url(self.url).set(drivername="postgresql+asyncpg"))
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
        await engine.dispose()

    async def fill(self, jobs: int, nap: float) -> None:
        await self.sql(FILL, QUEUE, "benchmarks.noop", f'{{"nap": {nap}}}', jobs)

    async def keep(self, jobs: int) -> None:
        await self.sql(KEEP, QUEUE, jobs)

    async def is_finished(self) -> bool:
        return not await self.sql(UNFINISHED)
