"""How fast a queue of no-op jobs is drained, as a ratio to the same work in bare batched SQL in the same run.

    python benchmarks/drain.py [--jobs 20000] [--concurrency 100] [--rounds 3] [--url URL]

Bare SQL is the least that any queue on this table has to do: claim a batch and acknowledge it, by asyncpg itself, on
one connection, batch after batch, with nothing run in between. Both drain the same rows of the same table under
durable settings (fsync and synchronous_commit on), in turns; the medians are compared.
"""

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass

import asyncpg
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban import QueueConfig, SqlaOban, job, telemetry
from sqla_oban.migrations import migrate
from sqla_oban.telemetry.events import AcksWritten
from sqla_oban.testing import TemporaryPostgres

QUEUE = "drain"

FILL = f"""
    INSERT INTO oban_jobs (queue, worker, args)
    SELECT '{QUEUE}', 'benchmarks.noop', jsonb_build_object('number', n) FROM generate_series(1, :jobs) n
"""
CLAIM = f"""
    WITH picked AS MATERIALIZED (
      SELECT id FROM oban_jobs WHERE state = 'available' AND queue = '{QUEUE}'
      ORDER BY priority, scheduled_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
    UPDATE oban_jobs j SET state = 'executing', attempt = attempt + 1, attempted_by = ARRAY['bare', 'sql'],
      attempted_at = timezone('UTC', clock_timestamp())
    FROM picked WHERE j.id = picked.id RETURNING j.id, j.worker, j.args, j.attempted_at
"""
ACK = """
    UPDATE oban_jobs j SET state = 'completed', completed_at = timezone('UTC', clock_timestamp())
    FROM unnest($1::bigint[], $2::timestamp[]) AS done(id, attempted_at)
    WHERE j.id = done.id AND j.attempted_at = done.attempted_at AND j.state = 'executing'
"""


@job(name="benchmarks.noop", queue=QUEUE)
async def noop(number: int) -> None:
    """Does nothing, so that only the queue is measured."""


@dataclass(frozen=True)
class Scenario:
    """What is drained, and how."""

    jobs: int
    concurrency: int
    rounds: int


async def fill(engine: AsyncEngine, scenario: Scenario) -> None:
    """The jobs, in a table as it is after a quiet night: vacuumed and analysed."""
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("TRUNCATE oban_jobs, oban_producers, oban_peers"))
        await autocommit.execute(text(FILL), {"jobs": scenario.jobs})
        await autocommit.execute(text("VACUUM ANALYZE oban_jobs"))
        await autocommit.execute(text("CHECKPOINT"))


async def drain_bare(url: URL, scenario: Scenario) -> float:
    """Jobs a second by bare SQL."""
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    began = time.perf_counter()
    while rows := await connection.fetch(CLAIM, scenario.concurrency):
        await connection.execute(ACK, [row["id"] for row in rows], [row["attempted_at"] for row in rows])
    seconds = time.perf_counter() - began
    await connection.close()
    return scenario.jobs / seconds


async def drain_sqla_oban(engine: AsyncEngine, scenario: Scenario) -> float:
    """Jobs a second by a runner, from its start until the last outcome is written."""
    drained, written = asyncio.Event(), 0

    def count(event: AcksWritten) -> None:
        nonlocal written
        written += event.written
        if written >= scenario.jobs:
            drained.set()

    telemetry.attach(count, AcksWritten)
    oban = SqlaOban(engine, queues={QUEUE: QueueConfig(limit=scenario.concurrency)})
    began = time.perf_counter()
    async with oban:
        await drained.wait()
        seconds = time.perf_counter() - began
    telemetry.detach(count)
    return scenario.jobs / seconds


async def done(engine: AsyncEngine) -> int:
    """How many jobs really completed."""
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM oban_jobs WHERE state = 'completed'")) or 0)


async def measure(url: URL, scenario: Scenario) -> None:
    """Drain in turns and print what was measured."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    bare, ours = [], []
    for _ in range(scenario.rounds):
        await fill(engine, scenario)
        bare.append(await drain_bare(url, scenario))
        assert await done(engine) == scenario.jobs
        await fill(engine, scenario)
        ours.append(await drain_sqla_oban(engine, scenario))
        assert await done(engine) == scenario.jobs
        print(f"bare SQL {bare[-1]:8,.0f} jobs/s    sqla_oban {ours[-1]:8,.0f} jobs/s", flush=True)
    await engine.dispose()
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"{scenario.jobs:,} no-op async jobs, concurrency {scenario.concurrency}: ", end="")
    print(f"{statistics.median(ours):,.0f} jobs/s, {ratio:.2f} of bare batched SQL")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="a scratch database; its jobs are deleted. Default: a temporary PostgreSQL")
    options = parser.parse_args()
    scenario = Scenario(options.jobs, options.concurrency, options.rounds)
    if options.url:
        asyncio.run(measure(make_url(options.url), scenario))
        return
    with TemporaryPostgres(durable=True, settings={"shared_buffers": "512MB"}) as server:
        asyncio.run(measure(server.url(), scenario))


if __name__ == "__main__":
    main()
