"""Signals and what is upstream, for workers in processes and in transactions."""

import os
from typing import Any

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from sqla_oban import Job, JobState, QueueConfig, SqlaOban, Workflow
from sqla_oban.settings import HeartbeatSettings, LeaderSettings, ProcessSettings
from tests.engine.process_asking import ask, ask_async, look, make, pay_when_told, pay_when_told_in_thread
from tests.shop import make_runs, runs
from tests.support import enqueue, eventually, jobs

STARTING = 240.0
"""Seconds that jobs may take here: processes that start on a busy machine take their time."""
STEADY = {
    "heartbeat": HeartbeatSettings(),
    "leader": LeaderSettings(),
    "process": ProcessSettings(start_timeout=STARTING),
    "queues": {"default": QueueConfig(limit=2, executor="process"), "here": 2},
}


@pytest.fixture(autouse=True)
async def no_runs(engine: AsyncEngine) -> None:
    await make_runs(engine)


async def all_are(engine: AsyncEngine, state: JobState) -> list[Job]:
    """The jobs, once the table says so."""

    async def holds() -> bool:
        return {one.state for one in await jobs(engine)} == {state}

    await eventually(holds, f"all jobs to be {state}", patience=STARTING)
    return list(await jobs(engine))


async def test_a_job_in_a_process_is_put_aside_until_its_signal_comes(engine: AsyncEngine, start: Any) -> None:
    oban: SqlaOban = await start(**STEADY)
    ids = await enqueue(engine, ask.new(), ask_async.new())
    assert [one.attempt for one in await all_are(engine, JobState.SCHEDULED)] == [0, 0]
    for number, job_id in enumerate(ids):
        assert await oban.jobs.signal(job_id, {"number": number})
    for number, one in enumerate(await all_are(engine, JobState.COMPLETED)):
        assert one.result[0] == {"number": number}
        assert one.result[1] != os.getpid()
        assert (one.attempt, one.errors) == (1, [])


async def test_a_transactional_worker_that_is_put_aside_has_done_nothing(
    engine: AsyncEngine, database_url: URL, start: Any
) -> None:
    own = create_engine(database_url.set(drivername="postgresql+psycopg"))
    oban: SqlaOban = await start(queues={"default": 2}, dependencies={Session: sessionmaker(own)})
    ids = await enqueue(engine, pay_when_told.new(), pay_when_told_in_thread.new())
    await all_are(engine, JobState.SCHEDULED)
    assert await runs(engine) == []
    for job_id in ids:
        assert await oban.jobs.signal(job_id, "now")
    paid = await all_are(engine, JobState.COMPLETED)
    assert [(one.result, one.attempt) for one in paid] == [("now", 1)] * 2
    assert sorted(run.job_id for run in await runs(engine)) == ids
    own.dispose()


async def test_a_job_in_a_process_sees_what_it_has_waited_for(engine: AsyncEngine, start: Any) -> None:
    workflow = Workflow(name="seen", context={"day": "today"})
    workflow.add("first", make.with_options(queue="here").new({"rows": [1, None]}))
    workflow.add("second", make.with_options(queue="here").new("two"))
    workflow.add("last", look.new(), deps=["first", "second"])
    async with AsyncSession(engine) as session, session.begin():
        session.add(workflow)
    await start(**STEADY)
    last = {one.workflow_name: one for one in await all_are(engine, JobState.COMPLETED)}["last"]
    seen, context, pid = last.result
    assert seen == {"first": ["completed", {"rows": [1, None]}], "second": ["completed", "two"]}
    assert context == {"day": "today"}
    assert pid != os.getpid()
