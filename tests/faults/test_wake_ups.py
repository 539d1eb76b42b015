"""No wake-up is lost, whatever the order in which writers write and commit and producers fall asleep."""

import asyncio
import random
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Job, JobState, insert_all
from sqla_oban.settings import StagerSettings
from sqla_oban.telemetry.events import ListenerUp
from tests.shop import noop
from tests.support import Recorder, both_drivers, eventually, jobs

NEVER = StagerSettings(interval=3_600, deaf_interval=3_600)
WRITERS, TRANSACTIONS = 6, 20


@both_drivers
@pytest.mark.parametrize("seed", range(3))
async def test_every_job_runs_though_nobody_polls(seed: int, engine: AsyncEngine, start: Any, events: Recorder) -> None:
    """Were one wake-up lost, its job would wait for an hour: nothing else looks at the table."""
    for node in ("one", "two", "three"):
        await start(queues={"default": 2, "other": 1}, node=node, stager=NEVER, leadership=False)
    await events.wait_for(ListenerUp, count=3)
    written = await asyncio.gather(*(write(engine, random.Random(f"{seed} {writer}")) for writer in range(WRITERS)))

    async def all_done() -> bool:
        stored = await jobs(engine)
        return len(stored) == sum(written) and {job.state for job in stored} == {JobState.COMPLETED}

    await eventually(all_done, "every job to run", patience=60)


async def write(engine: AsyncEngine, chance: random.Random) -> int:
    """Transactions that insert in one of several ways, stay open for a moment, and commit or do not."""
    committed = 0
    for _ in range(TRANSACTIONS):
        async with AsyncSession(engine) as session:
            count = chance.randint(1, 3)
            await insert(session, count, chance)
            await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": chance.choice([0, 0, 0.002, 0.02])})
            if chance.random() < 0.2:
                await session.rollback()
            else:
                await session.commit()
                committed += count
    return committed


async def insert(session: AsyncSession, count: int, chance: random.Random) -> None:
    new = [_made(chance) for _ in range(count)]
    match chance.randrange(4):
        case 0:
            session.add_all(new)
            await session.flush()
        case 1:
            await insert_all(session, new)
        case 2:
            async with session.begin_nested() as dropped:
                session.add(_made(chance))
                await session.flush()
                await dropped.rollback()
            session.add_all(new)
        case _:
            for job in new:
                sql = text("INSERT INTO oban_jobs (worker, queue) VALUES (:worker, :queue)")
                await session.execute(sql, {"worker": job.worker, "queue": job.queue})


def _made(chance: random.Random) -> Job:
    worker = noop.with_options(queue=chance.choice(["default", "default", "other"]))
    return (worker.with_options(schedule_in=0.05) if chance.random() < 0.1 else worker).new()
