"""Both libraries run one queue: no job runs twice, and neither sleeps while there is work."""

import asyncio
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.settings import StagerSettings
from sqla_oban.telemetry.events import JobFinished
from tests.interop.conftest import every_release, runs
from tests.interop.node import ObanPy
from tests.interop.workers import count
from tests.support import PATIENCE, Recorder, asleep, enqueue, eventually, jobs

NEVER = 3600.0
"""Seconds between looks that nobody asked for: whoever starts a job was woken."""

RAW = "INSERT INTO oban_jobs (worker, queue) VALUES ('peer_workers.Count', :queue)"


@every_release
async def test_no_job_of_a_queue_that_both_run_runs_twice(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    await peer.start(queues={"default": 8})
    await start(queues={"default": 8})
    enqueued = 0
    async with asyncio.timeout(PATIENCE):
        while len({runner for runner, _ in (await runs(engine)).values()}) < 2 or enqueued < 400:
            await asyncio.gather(
                peer.enqueue(*({} for _ in range(40))), enqueue(engine, *(count.new() for _ in range(40)))
            )
            enqueued += 80
    await eventually(lambda: ended(engine), "all to end")
    stored = await jobs(engine)
    assert {(job.state, job.attempt, len(job.errors)) for job in stored} == {(JobState.COMPLETED, 1, 0)}
    assert (await runs(engine)).keys() == {job.id for job in stored}
    assert len(stored) == enqueued


async def test_a_job_of_ours_wakes_oban_py(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    await start(queues={"elsewhere": 1})
    await peer.start(queues={"default": 1}, stager={"interval": NEVER})
    await peer.said("oban.stager.stage.stop")
    (id_,) = await enqueue(engine, count.new())
    await peer.said("oban.job.stop", job=id_, state="completed")


async def test_so_does_a_row_from_anywhere(engine: AsyncEngine, peer: ObanPy) -> None:
    await peer.start(queues={"default": 1}, stager={"interval": NEVER})
    await peer.said("oban.stager.stage.stop")
    await insert(engine, "default")
    await peer.said("oban.job.stop", state="completed")


async def test_a_job_of_oban_py_wakes_us(engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy) -> None:
    await peer.start()
    await start(queues={"default": 1}, stager=StagerSettings(interval=NEVER))
    await eventually(lambda: asleep(engine), "the producer to sleep")
    (id_,) = await peer.enqueue({})
    await events.wait_for(JobFinished, id=id_, state=JobState.COMPLETED)


async def test_we_hear_oban_py_itself_and_not_only_our_trigger(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    await start(queues={"default": 1}, stager=StagerSettings(interval=NEVER))
    await eventually(lambda: asleep(engine), "the producer to sleep")
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE oban_jobs DISABLE TRIGGER oban_jobs_wake"))
    try:
        await peer.start()
        (id_,) = await peer.enqueue({})
        await events.wait_for(JobFinished, id=id_, state=JobState.COMPLETED)
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE oban_jobs ENABLE TRIGGER oban_jobs_wake"))


async def test_who_sleeps_is_woken_by_a_job_that_both_could_run(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    """One of the two is paused, so it must be the other that was woken."""
    oban = await start(queues={"default": 1}, stager=StagerSettings(interval=NEVER))
    await peer.start(queues={"default": {"limit": 1, "paused": True}}, stager={"interval": NEVER})
    await peer.said("oban.stager.stage.stop")
    await eventually(lambda: asleep(engine), "the producer to sleep")
    await insert(engine, "default")
    await events.wait_for(JobFinished, state=JobState.COMPLETED)
    await oban.queues.pause("default", node=oban.node)
    await peer.do("resume_queue", queue="default", node=peer.name)
    await peer.said("oban.producer.get.stop", count=1)
    await insert(engine, "default")
    await peer.said("oban.job.stop", state="completed")


async def test_what_we_stage_for_a_queue_of_oban_py_starts_at_once(
    engine: AsyncEngine, start: Any, peer: ObanPy
) -> None:
    await start(queues={"elsewhere": 1})
    await peer.start(queues={"default": 1}, stager={"interval": NEVER})
    await peer.said("oban.stager.stage.stop")
    (id_,) = await enqueue(engine, count.with_options(schedule_in=0.2).new())
    await peer.said("oban.job.stop", job=id_, state="completed")


async def insert(engine: AsyncEngine, queue: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(RAW), {"queue": queue})


async def ended(engine: AsyncEngine) -> bool:
    return not {job.state for job in await jobs(engine)} & {JobState.AVAILABLE, JobState.EXECUTING}
