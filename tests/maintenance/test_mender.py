"""The leader brings on what of workflows, chains and batches nobody else has."""

import asyncio
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Batch, Job, Record, Workflow, current_job, job
from sqla_oban.engine.database import Link
from sqla_oban.maintenance.mender import FORGET_BATCHES, Mender
from sqla_oban.settings import MenderSettings
from sqla_oban.telemetry.events import JobFinished, WorkflowsMended
from tests.support import Recorder, enqueue, eventually, jobs


@job(name="tests.mender.step")
async def step() -> Record:
    return Record(1 + sum(one.result for one in current_job().upstream.values()))


async def stored(engine: AsyncEngine) -> Workflow:
    workflow = Workflow(name="w")
    workflow.add("first", step.new())
    workflow.add("last", step.new(), deps=["first"])
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(workflow)
    return workflow


async def test_a_runner_is_woken_for_what_is_released(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 2})
    workflow = await stored(engine)
    await events.wait_for(JobFinished, count=2)
    await events.wait_for(JobFinished, id=workflow.jobs["last"].id)
    assert not events.of(WorkflowsMended)


async def test_the_leader_settles_what_was_not(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    workflow = await stored(engine)
    async with engine.begin() as connection:  # as a transaction that held the row and gave it back
        await connection.execute(text("ALTER TABLE oban_jobs DISABLE TRIGGER oban_jobs_update"))
        await connection.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE workflow_name = 'first'"))
        await connection.execute(text("ALTER TABLE oban_jobs ENABLE TRIGGER oban_jobs_update"))
    assert [one.state for one in await jobs(engine)] == ["completed", "suspended"]
    await start(queues={"other": 1}, mender=MenderSettings(interval=0.1))
    (mended, *_) = await events.wait_for(WorkflowsMended)
    assert set(mended.jobs) <= {one.id for one in workflow.jobs.values()}
    assert (await jobs(engine))[1].state == "available"


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


async def test_any_number_of_batches_is_forgotten(engine: AsyncEngine, start: Any) -> None:
    await ended_batches(engine, 5)
    await start(queues={"default": 1}, mender=MenderSettings(batch=2, keep=60.0))

    async def forgotten() -> bool:
        return await batches(engine) == 0

    await eventually(forgotten, "all batches to be forgotten")


async def test_a_forgetting_that_a_late_lease_broke_off_is_gone_on_with(engine: AsyncEngine) -> None:
    """And not ten minutes later, as if it had come to its end."""
    await ended_batches(engine, 5)

    class Lead:
        is_leader = True

    class Interrupted(Link):
        async def execute(self, statement: Any, parameters: Any = None) -> Any:
            rows = await super().execute(statement, parameters)
            lead.is_leader = statement is not FORGET_BATCHES
            return rows

    lead, link = Lead(), Interrupted(engine, purpose="test", schema=None, timeout=30)
    mender = Mender(link, lead, node="here", schema=None, settings=MenderSettings(batch=2, keep=60.0))  # type: ignore[arg-type]
    mender._task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]  # as if it was started
    for left in (3, 1, 0):
        lead.is_leader = True
        await mender.tick()
        assert await batches(engine) == left
    await link.close()


async def ended_batches(engine: AsyncEngine, count: int) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(Batch() for _ in range(count))
        await session.flush()
        await session.execute(text("UPDATE oban_batches SET exhausted_at = timezone('UTC', now()) - interval '1 hour'"))


async def batches(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM oban_batches")) or 0)
