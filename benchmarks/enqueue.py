"""How fast jobs are put in, as ratios to bare INSERTs by the same driver in the same run.

    python benchmarks/enqueue.py [--jobs 10000] [--commits 300] [--rounds 5] [--url URL]

Many: `insert_all` of new jobs in a session, against one `INSERT ... SELECT FROM unnest` of the same rows on the bare
driver; with the peak of what Python allocates for it, taken in a round of its own. One: `session.add` of a job and a
commit, against an INSERT and a commit on the bare driver. Durable settings, in turns, medians.
"""

import argparse
import asyncio
import json
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg
import psycopg
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sqla_oban import Job, insert_all, job
from sqla_oban.migrations import migrate
from sqla_oban.testing import TemporaryPostgres

MANY = """
    INSERT INTO oban_jobs (queue, worker, args)
    SELECT * FROM unnest({}::text[], {}::text[], {}::jsonb[]) RETURNING id
"""
ONE = "INSERT INTO oban_jobs (queue, worker, args) VALUES ({}, {}, {}) RETURNING id"
ROW = ("default", "benchmarks.receipt", json.dumps({"order_id": 7, "lang": "en"}))


@job(name="benchmarks.receipt", queue="default")
async def receipt(order_id: int, *, lang: str = "en") -> None: ...


@dataclass(frozen=True)
class Scenario:
    """What is put in."""

    jobs: int
    commits: int
    rounds: int


class Bare:
    """The driver alone."""

    def __init__(self, url: URL, driver: str) -> None:
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._driver = driver

    async def many(self, scenario: Scenario) -> float:
        """Seconds for all jobs."""
        columns = [[value] * scenario.jobs for value in ROW]
        return await self._timed(MANY, columns, 1)

    async def one(self, scenario: Scenario) -> float:
        """Seconds for all commits."""
        return await self._timed(ONE, ROW, scenario.commits)

    async def _timed(self, statement: str, values: Sequence[object], times: int) -> float:
        if self._driver == "asyncpg":
            connection = await asyncpg.connect(self._url)
            began = time.perf_counter()
            for _ in range(times):
                async with connection.transaction():
                    await connection.fetch(statement.format("$1", "$2", "$3"), *values)
        else:
            connection = await psycopg.AsyncConnection.connect(self._url)
            began = time.perf_counter()
            for _ in range(times):
                await (await connection.execute(statement.format("%s", "%s", "%s"), values)).fetchall()
                await connection.commit()
        seconds = time.perf_counter() - began
        await connection.close()
        return seconds


async def insert_many(engine: AsyncEngine, jobs: list[Job]) -> float:
    """Seconds for all jobs, which are made already."""
    async with AsyncSession(engine) as session:
        await session.connection()
        began = time.perf_counter()
        await insert_all(session, jobs)
        await session.commit()
        return time.perf_counter() - began


async def add_one_by_one(engine: AsyncEngine, scenario: Scenario) -> float:
    """Seconds for all commits, each of a session of its own."""
    began = time.perf_counter()
    for _ in range(scenario.commits):
        async with AsyncSession(engine, expire_on_commit=False) as session:
            session.add(receipt.new(7))
            await session.commit()
    return time.perf_counter() - began


async def peak(engine: AsyncEngine, scenario: Scenario) -> float:
    """Megabytes that Python allocates at most while it makes and inserts the jobs."""
    tracemalloc.start()
    await insert_many(engine, [receipt.new(7) for _ in range(scenario.jobs)])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


async def median_of(
    rounds: int, clean: Callable[[], Awaitable[None]], *ways: Callable[[], Awaitable[float]]
) -> list[float]:
    """The median seconds of each way, in turns on an empty table."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, taken in zip(ways, seconds, strict=True):
            await clean()
            taken.append(await way())
    return [statistics.median(taken) for taken in seconds]


async def measure(url: URL, driver: str, scenario: Scenario) -> None:
    """Put in by one driver, and print what was measured."""
    engine, bare = create_async_engine(url.set(drivername=f"postgresql+{driver}")), Bare(url, driver)

    async def clean() -> None:
        async with engine.begin() as connection:
            await connection.execute(text("TRUNCATE oban_jobs"))

    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    many, bare_many = await median_of(
        scenario.rounds,
        clean,
        lambda: insert_many(engine, [receipt.new(7) for _ in range(scenario.jobs)]),
        lambda: bare.many(scenario),
    )
    one, bare_one = await median_of(
        scenario.rounds, clean, lambda: add_one_by_one(engine, scenario), lambda: bare.one(scenario)
    )
    print(
        f"{driver:8} insert_all of {scenario.jobs:,}: {scenario.jobs / many:,.0f} jobs/s, {bare_many / many:.2f} of "
        f"bare unnest ({scenario.jobs / bare_many:,.0f}/s), peak {await peak(engine, scenario):.0f} MB"
    )
    print(
        f"{driver:8} session.add + commit: {scenario.commits / one:,.0f} a second, {bare_one / one:.2f} of a bare "
        f"INSERT + commit ({scenario.commits / bare_one:,.0f}/s)"
    )
    await engine.dispose()


async def measure_all(url: URL, scenario: Scenario) -> None:
    for driver in ("asyncpg", "psycopg"):
        await measure(url, driver, scenario)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--commits", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", help="a scratch database; its jobs are deleted. Default: a temporary PostgreSQL")
    options = parser.parse_args()
    scenario = Scenario(options.jobs, options.commits, options.rounds)
    if options.url:
        asyncio.run(measure_all(make_url(options.url), scenario))
        return
    with TemporaryPostgres(durable=True, settings={"shared_buffers": "512MB"}) as server:
        asyncio.run(measure_all(server.url(), scenario))


if __name__ == "__main__":
    main()
