"""A transactional worker's effects in the database happen once, whatever dies or races, and whenever."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from sqla_oban import Job, JobState, job
from sqla_oban.errors import DeclarationError
from sqla_oban.telemetry.events import JobFailed, JobFinished
from tests.faults.payments import (
    STEPS,
    Base,
    Pay,
    PayInAThread,
    Payment,
    change_mind,
    pay,
    pay_at_gate,
    pay_by_hand,
    pay_in_a_thread,
)
from tests.shop import gate
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs

both_ways = pytest.mark.parametrize("worker", [pay, pay_by_hand], ids=["transactional", "by-hand"])


@pytest.fixture(autouse=True)
async def payments(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


async def paid(engine: AsyncEngine) -> list[str]:
    async with AsyncSession(engine) as session:
        return list(await session.scalars(select(Payment.note).order_by(Payment.id)))


async def only_job(engine: AsyncEngine) -> Job:
    [one] = await jobs(engine)
    return one


@both_drivers
@both_ways
async def test_effects_and_outcome_are_committed_together(
    engine: AsyncEngine, start: Any, events: Recorder, worker: Any
) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, worker.new("a"))
    await events.wait_for(JobFinished, state=JobState.COMPLETED)
    done = await only_job(engine)
    assert (done.state, done.completed_at is not None) == (JobState.COMPLETED, True)
    assert await paid(engine) == ["a"]


@both_ways
@pytest.mark.parametrize("step", STEPS)
async def test_a_process_killed_at_any_step_leaves_one_effect(
    engine: AsyncEngine, spawn: Any, worker: Any, step: str
) -> None:
    victim = await spawn(mortal=True, queues={"default": 5})
    await enqueue(engine, worker.new("a", step=step))
    await victim.process.wait()
    before = await paid(engine)
    await spawn(queues={"default": 5})

    async def completed() -> bool:
        return (await only_job(engine)).state is JobState.COMPLETED

    await eventually(completed, "the job to complete")
    assert await paid(engine) == ["a"]
    committed = step == "after_commit"
    assert (before, (await only_job(engine)).attempt) == ((["a"], 1) if committed else ([], 2))


@pytest.mark.parametrize("sync_driver", ["psycopg", "psycopg2"])
@pytest.mark.parametrize("new", [lambda: pay_in_a_thread.new("a"), lambda: PayInAThread.new({"note": "a"})])
async def test_a_sync_worker_commits_its_outcome_likewise(
    engine: AsyncEngine, start: Any, events: Recorder, sync_driver: str, new: Any
) -> None:
    sync_engine = create_engine(engine.url.set(drivername=f"postgresql+{sync_driver}"))
    await start(queues={"default": 5}, dependencies={Session: sessionmaker(sync_engine)})
    await enqueue(engine, new())
    await events.wait_for(JobFinished, state=JobState.COMPLETED)
    assert ((await only_job(engine)).state, await paid(engine)) == (JobState.COMPLETED, ["a"])
    sync_engine.dispose()


@both_drivers
@pytest.mark.parametrize("worker", [pay, pay_in_a_thread, pay_by_hand])
async def test_a_session_that_commits_each_statement_is_refused(
    engine: AsyncEngine, start: Any, events: Recorder, worker: Any
) -> None:
    """Before the work of a transactional worker begins."""
    sync_engine = create_engine(engine.url.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    kinds = {
        AsyncSession: async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT")),
        Session: sessionmaker(sync_engine),
    }
    await start(queues={"default": 5}, dependencies=kinds)
    await enqueue(engine, worker.new("a"))
    failed, *_ = await events.wait_for(JobFailed)  # and each retry fails likewise, soon
    assert "ConfigurationError: the outcome of a job cannot commit with a session in AUTOCOMMIT" in failed.message
    assert await paid(engine) == []
    sync_engine.dispose()


async def test_a_class_worker_commits_its_outcome_likewise(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, Pay.new({"note": "a"}), Pay.new({"note": "fail"}, max_attempts=1))
    await events.wait_for(JobFinished, state=JobState.COMPLETED)
    await events.wait_for(JobFinished, state=JobState.DISCARDED)
    assert await paid(engine) == ["a"]
    assert (await jobs(engine))[0].state is JobState.COMPLETED


@pytest.mark.parametrize(
    ("note", "state"),
    [("snooze", JobState.SCHEDULED), ("cancel", JobState.CANCELLED), ("record", JobState.COMPLETED)],
)
async def test_whatever_the_worker_returns_is_committed_with_its_effects(
    engine: AsyncEngine, start: Any, events: Recorder, note: str, state: JobState
) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, pay.new(note))
    await events.wait_for(JobFinished)
    done = await only_job(engine)
    assert (done.state, await paid(engine)) == (state, [note])
    assert done.result == (7 if note == "record" else None)


async def test_what_fails_leaves_no_effect(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, pay.with_options(max_attempts=2).new("fail"))
    await events.wait_for(JobFinished, count=2)
    await eventually_in(engine, JobState.DISCARDED)
    assert await paid(engine) == []


async def test_a_job_that_was_given_to_another_cannot_commit(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 5})
    with gate("slow") as at:
        [job_id] = await enqueue(engine, pay_at_gate.new("slow"))
        await eventually(lambda: at.entered == [job_id], "the job to begin")
        async with engine.begin() as connection:  # as after a rescue: another node has claimed it
            await connection.execute(
                text("UPDATE oban_jobs SET attempt = 2, attempted_at = attempted_at + interval '1 second'")
            )
        at.open()
        [failed] = await events.wait_for(JobFailed)
    assert "ClaimLost: job" in failed.message
    assert await paid(engine) == []
    assert ((await only_job(engine)).state, (await only_job(engine)).attempt) == (JobState.EXECUTING, 2)


@pytest.mark.parametrize("commits", [True, False], ids=["rescued", "rolled-back"])
async def test_a_rescue_that_races_the_commit_is_waited_for(
    engine: AsyncEngine, start: Any, events: Recorder, commits: bool
) -> None:
    """The rescue holds the row's lock when the worker wants to commit: whoever comes second sees what the first did."""
    await start(queues={"default": 5})
    with gate("raced") as at:
        [job_id] = await enqueue(engine, pay_at_gate.new("raced"))
        await eventually(lambda: at.entered == [job_id], "the job to begin")
        async with engine.connect() as rescuer:
            await rescuer.execute(text("UPDATE oban_jobs SET state = 'available', queue = 'elsewhere'"))
            at.open()
            await eventually(lambda: is_somebody_waiting(engine), "the worker to wait for the lock")
            await (rescuer.commit() if commits else rescuer.rollback())
        await events.wait_for(JobFinished)
    assert await paid(engine) == ([] if commits else ["raced"])
    assert (await only_job(engine)).state is (JobState.AVAILABLE if commits else JobState.COMPLETED)


async def test_a_completion_that_is_rolled_back_has_not_happened(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, change_mind.new())
    await events.wait_for(JobFinished)
    await eventually_in(engine, JobState.CANCELLED)


def test_a_transactional_worker_needs_a_session() -> None:
    with pytest.raises(DeclarationError, match="is transactional and takes no session; give it a parameter"):

        @job(name="payments.none", transactional=True)
        async def none() -> None: ...


async def eventually_in(engine: AsyncEngine, state: JobState) -> None:
    async def holds() -> bool:
        return (await only_job(engine)).state is state

    await eventually(holds, f"the job to be {state}")


async def is_somebody_waiting(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(await connection.scalar(text(waiting)))
