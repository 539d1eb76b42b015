"""The leader brings on what of workflows, chains and batches nobody else has."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Batch, Job, Record, Workflow, current_job, job
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
        await connection.execute(text("ALTER TABLE oban_jobs DISABLE TRIGGER oban_jobs_workflow_update"))
        await connection.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE workflow_name = 'first'"))
        await connection.execute(text("ALTER TABLE oban_jobs ENABLE TRIGGER oban_jobs_workflow_update"))
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
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(Batch() for _ in range(5))
        await session.flush()
        await session.execute(text("UPDATE oban_batches SET exhausted_at = timezone('UTC', now()) - interval '1 hour'"))
    await start(queues={"default": 1}, mender=MenderSettings(batch=2, keep=60.0))

    async def forgotten() -> bool:
        async with engine.connect() as connection:
            return not await connection.scalar(text("SELECT count(*) FROM oban_batches"))

    await eventually(forgotten, "all batches to be forgotten")
