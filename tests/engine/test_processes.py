"""Jobs in processes, from their INSERT to their outcome."""

import os
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Job, JobState, QueueConfig, SqlaOban
from sqla_oban.errors import ProcessNotStarted
from sqla_oban.settings import HeartbeatSettings, LeaderSettings, ProcessSettings
from sqla_oban.telemetry.events import JobFailed, JobFinished, JobStarted
from tests.engine.process_app import hang, hang_for_a_moment, here, pack, ship, there
from tests.faults.payments import Base, pay
from tests.shop import Order, make_orders, make_runs, runs
from tests.support import Recorder, both_drivers, enqueue, eventually, is_gone, jobs

STARTING = 240.0
"""Seconds that jobs may take here: processes that start on a busy machine take their time."""
APP = ProcessSettings(setup="tests.engine.process_app:make_oban", start_timeout=STARTING)
STEADY = {"heartbeat": HeartbeatSettings(), "leader": LeaderSettings(), "process": APP}
"""A machine that is busy starting processes must not make its node look dead."""
PROCESSES = {"default": QueueConfig(limit=1, executor="process")}


@pytest.fixture(autouse=True)
async def shop(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells the processes where the database is."""
    monkeypatch.setenv("SHOP_URL", engine.url.render_as_string(hide_password=False))
    await make_runs(engine)
    await make_orders(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("TRUNCATE payments"))


async def ended(engine: AsyncEngine, number: int) -> list[Job]:
    async def holds() -> bool:
        return sum(job.state not in ("available", "executing", "retryable") for job in await jobs(engine)) == number

    await eventually(holds, f"{number} jobs to end", patience=STARTING)
    return list(await jobs(engine))


async def finished(events: Recorder, **fields: Any) -> None:
    await eventually(lambda: bool(events.of(JobFinished, **fields)), f"a job to end as {fields}", patience=STARTING)


@both_drivers
async def test_workers_get_rows_and_sessions_there_and_what_they_commit_happens_once(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues=PROCESSES, **STEADY)
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add_all([order := Order(item="book"), ship.new(order)])
    await enqueue(engine, pay.new("plain"), pay.new("killed", "before_commit"), pay.new("late", "after_commit"))
    shipped, *paid = await ended(engine, 4)
    assert {job.state for job in (shipped, *paid)} == {JobState.COMPLETED}
    assert shipped.result != os.getpid()
    assert [job.attempt for job in paid] == [1, 2, 1]
    assert "the process that ran the job was killed by SIGKILL" in paid[1].errors[0]["error"]
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT item FROM orders")) == "book made there 1"
        assert sorted(await connection.scalars(text("SELECT note FROM payments"))) == ["killed", "late", "plain"]
    assert {event.kind for event in events.of(JobFailed)} == {"WorkerDied"}


async def test_where_a_worker_says_where_it_runs_its_queue_does_not(engine: AsyncEngine, start: Any) -> None:
    dependencies = replace(APP, setup="tests.engine.process_app:make_dependencies")
    await start(queues={**PROCESSES, "plain": 2}, **{**STEADY, "process": dependencies})
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add_all([order := Order(item="pen"), pack.with_options(max_attempts=1).new(order)])
        session.add_all([here.new(), there.with_options(queue="plain").new()])
    packed, was_here, was_there = await ended(engine, 3)
    assert was_here.result == os.getpid()
    assert was_there.result not in (None, os.getpid())
    assert packed.state is JobState.DISCARDED  # a sync worker's row needs a Session
    assert "name what returns {Session: ...} by ProcessSettings(setup=...)" in packed.errors[0]["error"]


async def test_a_cancelled_job_and_one_that_takes_too_long_end_with_their_processes(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban: SqlaOban = await start(queues=PROCESSES, **STEADY)
    [late] = await enqueue(engine, hang_for_a_moment.new())
    await finished(events, id=late, state=JobState.RETRYABLE)
    [hanging] = await enqueue(engine, hang.new())

    async def begun() -> bool:
        return len(await runs(engine)) == 1

    await eventually(begun, "the job to begin", patience=STARTING)
    await oban.jobs.cancel(hanging)
    await finished(events, id=hanging, state=JobState.CANCELLED)
    [run] = await runs(engine)
    await eventually(lambda: is_gone(run.pid), "the process to be gone")
    [failed] = events.of(JobFailed)
    assert failed.kind == "JobTimeout"


async def test_a_shutdown_ends_processes_and_hands_their_jobs_back(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban: SqlaOban = await start(queues=PROCESSES, **STEADY, shutdown_grace_period=0)
    await enqueue(engine, hang.new())

    async def begun() -> bool:
        return len(await runs(engine)) == 1

    await eventually(begun, "the job to begin", patience=STARTING)
    await oban.stop()
    [run] = await runs(engine)
    assert is_gone(run.pid)
    [job] = await jobs(engine)
    assert (job.state, job.attempt, job.errors) == (JobState.AVAILABLE, 0, [])


async def test_a_runner_whose_processes_cannot_start_does_not_start(engine: AsyncEngine, events: Recorder) -> None:
    await enqueue(engine, there.new())
    odd = replace(APP, setup="tests.engine.process_app:nothing")
    oban = SqlaOban(engine, queues=PROCESSES, process=odd)
    with pytest.raises(ProcessNotStarted, match="has no 'nothing'"):
        await oban.start()
    assert events.of(JobStarted) == []
