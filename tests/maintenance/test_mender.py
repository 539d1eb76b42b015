"""What the triggers of chains and batches could not do, the leader does."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Batch, Job
from tests.support import enqueue, eventually, jobs


def chained() -> Job:
    return Job(worker="w", queue="elsewhere", args={"n": 1}, chain="n")


async def test_a_chain_without_a_turn_and_a_batch_without_jobs_go_on(engine: AsyncEngine, start: Any) -> None:
    await enqueue(engine, chained(), chained())
    async with engine.begin() as locker, engine.begin() as ender:
        await locker.execute(text("SELECT FROM oban_jobs WHERE id = 2 FOR UPDATE"))
        await ender.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE id = 1"))
    async with AsyncSession(engine) as session, session.begin():
        session.add(Batch(exhausted=Job(worker="done", queue="elsewhere")))
    await start(queues={"default": 1})

    async def mended() -> bool:
        return [(one.worker, one.state.value) for one in await jobs(engine)] == [
            ("w", "completed"),
            ("w", "available"),
            ("done", "available"),
        ]

    await eventually(mended, "the chain and the batch to go on")
