"""Jobs that wait for a signal, as the table shows it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from sqla_oban import Job, JobState, Record, Snooze, SqlaOban, current_job, job
from sqla_oban.errors import (
    InvalidArguments,
    InvalidSelection,
    JobHasEnded,
    JobNotFound,
    SignalTimeout,
    UnserialisableValue,
)
from sqla_oban.telemetry.events import JobFinished
from tests.queries.table import Table
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs

seen: list[Any] = []
gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def forget() -> None:
    seen.clear()
    gates.clear()


@job(name="parking.ask")
async def ask() -> Record:
    seen.append(current_job().attempt)
    return Record(await current_job().signal())


@job(name="parking.ask_in_thread")
def ask_in_thread() -> Record:
    return Record(current_job().signal())


@job(name="parking.ask_within")
async def ask_within(seconds: float) -> Record:
    try:
        return Record(await current_job().signal(timeout=seconds))
    except SignalTimeout as error:
        return Record(str(error))


@job(name="parking.ask_twice", max_attempts=3, backoff=lambda _: 0.01)
async def ask_twice() -> Record:
    first = await current_job().signal("first")
    second = await current_job().signal("second", timeout=timedelta(days=1))
    seen.append((first, second))
    if len(seen) == 1:
        raise RuntimeError("after both had come")
    return Record([first, second])


@job(name="parking.dawdle")
async def dawdle() -> Record:
    """Does not ask before the test has had its time."""
    gates["begun"].set()
    await gates["go"].wait()
    return Record(await current_job().signal())


@job(name="parking.asks_wrongly", max_attempts=1)
async def asks_wrongly(name: Any, seconds: Any) -> None:
    await current_job().signal(name, timeout=seconds)


@job(name="parking.ask_and_snooze")
async def ask_and_snooze() -> Any:
    seen.append(None)
    if len(seen) == 1:
        await current_job().signal("never")
    return Snooze(3600)


async def parked(events: Recorder, count: int = 1) -> None:
    await events.wait_for(JobFinished, count=count, state=JobState.SCHEDULED)


async def completed(events: Recorder, engine: AsyncEngine, count: int = 1) -> list[Job]:
    """The jobs once their outcomes are written: an event tells what will be."""

    async def are_written() -> bool:
        return all(one.state is JobState.COMPLETED for one in await jobs(engine))

    await events.wait_for(JobFinished, count=count, state=JobState.COMPLETED)
    await eventually(are_written, "completed jobs")
    return list(await jobs(engine))


async def stored(table: Table, job_id: int, state: str) -> Any:
    """Likewise one row."""

    async def is_written() -> bool:
        return bool((await table.job(job_id)).state == state)

    await eventually(is_written, f"job {job_id} to be {state}")
    return await table.job(job_id)


@both_drivers
@pytest.mark.parametrize("worker", [ask, ask_in_thread])
async def test_a_job_is_put_aside_until_its_signal_comes(
    worker: Any, engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, worker.new())
    await parked(events)
    row = await stored(table, job_id, "scheduled")
    assert (row.attempt, row.scheduled_at.year > 2100) == (0, True)
    assert await oban.jobs.signal(job_id, {"by": ["anna", None]})
    [done] = await completed(events, engine)
    assert (done.result, done.attempt) == ({"by": ["anna", None]}, 1)


async def test_a_parked_job_leaves_its_place_to_others(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 1})
    await enqueue(engine, *[ask.new() for _ in range(5)])
    await parked(events, 5)


async def test_a_job_can_be_given_its_signal_before_it_runs(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    client = SqlaOban(engine)
    [job_id] = await enqueue(engine, ask.new())
    assert await client.jobs.signal(job_id, "early")
    assert not await client.jobs.signal(job_id, "again")
    await start(queues={"default": 1})
    assert (await completed(events, engine))[0].result == "early"
    assert seen == [1]


async def test_a_signal_that_comes_between_the_claim_and_the_parking_is_not_missed(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    gates.update(begun=asyncio.Event(), go=asyncio.Event())
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, dawdle.new())
    await gates["begun"].wait()
    assert await oban.jobs.signal(job_id, "meanwhile")
    gates["go"].set()
    [done] = await completed(events, engine)
    assert (done.result, done.attempt) == ("meanwhile", 1)


async def test_a_signal_that_is_not_committed_yet_holds_up_the_parking_and_is_found_by_it(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    gates.update(begun=asyncio.Event(), go=asyncio.Event())
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, dawdle.new())
    await gates["begun"].wait()
    async with AsyncSession(engine) as session, session.begin():
        assert await oban.jobs.signal(job_id, "in a transaction", session=session)
        gates["go"].set()
        await parked(events)
    assert (await completed(events, engine))[0].result == "in a transaction"


async def test_a_signal_that_is_rolled_back_was_none(
    engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, ask.new())
    await parked(events)
    await stored(table, job_id, "scheduled")
    async with AsyncSession(engine) as session:
        assert await oban.jobs.signal(job_id, "no", session=session)
        await session.rollback()
    assert (await table.job(job_id)).state == "scheduled"
    assert await oban.jobs.signal(job_id, "yes")
    assert (await completed(events, engine))[0].result == "yes"


async def test_a_signal_shows_in_the_callers_session(sessions: async_sessionmaker[AsyncSession]) -> None:
    async with sessions() as session:
        one = ask.new()
        session.add(one)
        await session.flush()
        assert await SqlaOban(session.bind).jobs.signal(one, 1, name="n", session=session)  # type: ignore[arg-type]
        assert one.meta == {"signals": {"n": 1}}


async def test_several_signals_come_by_name_and_in_any_order_and_stay(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, ask_twice.new())
    await parked(events)
    assert await oban.jobs.signal(job_id, 2, name="second")
    assert await oban.jobs.signal(job_id, 1, name="first")
    [done] = await completed(events, engine)
    assert (done.result, done.attempt, seen) == ([1, 2], 2, [(1, 2), (1, 2)])


async def test_a_signal_that_does_not_come_in_time_is_an_error_in_the_worker(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 1})
    await enqueue(engine, ask_within.new(0.05))
    [done] = await completed(events, engine)
    assert (done.result, done.attempt) == ("the signal 'signal' did not come in time", 1)


async def test_a_timeout_of_nothing_takes_what_is_there(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    oban = SqlaOban(engine)
    first, second = await enqueue(engine, ask_within.new(0), ask_within.new(0))
    await oban.jobs.signal(second, "there")
    await start(queues={"default": 1})
    results = {one.id: one.result for one in await completed(events, engine, 2)}
    assert results == {first: "the signal 'signal' did not come in time", second: "there"}


async def test_who_is_woken_early_waits_for_the_rest_of_the_time(
    engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, ask_within.new(3600))
    await parked(events)
    first = await stored(table, job_id, "scheduled")
    await oban.jobs.update(job_id, schedule_in=0, meta={"note": 1})
    await parked(events, 2)
    second = await stored(table, job_id, "scheduled")
    assert abs((second.scheduled_at - first.scheduled_at).total_seconds()) < 60
    assert second.meta["signal_wait"]["deadlines"] == first.meta["signal_wait"]["deadlines"]
    assert second.meta["note"] == 1
    assert await oban.jobs.signal(job_id, "at last")
    assert (await completed(events, engine))[0].result == "at last"


async def test_a_retry_begins_the_wait_anew(engine: AsyncEngine, start: Any, events: Recorder, table: Table) -> None:
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, ask_within.new(0.05))
    await completed(events, engine)
    await stored(table, job_id, "completed")
    assert await oban.jobs.retry(job_id) == 1
    await events.wait_for(JobFinished, count=2, state=JobState.COMPLETED)
    await parked(events, 2)


async def test_a_parked_job_can_be_retried_cancelled_and_deleted(
    engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    oban = await start(queues={"default": 3})
    again, cancelled, deleted = await enqueue(engine, *[ask.new() for _ in range(3)])
    await parked(events, 3)
    for job_id in (again, cancelled, deleted):
        await stored(table, job_id, "scheduled")
    assert await oban.jobs.retry(again) == 1
    await parked(events, 4)
    await stored(table, again, "scheduled")
    assert await oban.jobs.signal(again, 1)
    assert await oban.jobs.cancel(cancelled) == 1
    assert await oban.jobs.delete(deleted) == 1
    with pytest.raises(JobHasEnded, match="is cancelled"):
        await oban.jobs.signal(cancelled)
    with pytest.raises(JobNotFound):
        await oban.jobs.signal(deleted)
    await events.wait_for(JobFinished, id=again, state=JobState.COMPLETED)


async def test_a_job_is_woken_by_a_signal_only_while_it_is_parked_for_it(
    engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    """What an earlier execution waited for says nothing of a later one that snoozes."""
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, ask_and_snooze.new())
    await parked(events)
    await stored(table, job_id, "scheduled")
    await oban.jobs.update(job_id, schedule_in=0)
    await parked(events, 2)
    await stored(table, job_id, "scheduled")
    assert await oban.jobs.signal(job_id, name="never")
    assert (await table.job(job_id)).state == "scheduled"


@pytest.mark.parametrize("name", ["", "x" * 128, None, 7])
async def test_a_wrong_name_is_refused_on_both_sides(
    name: Any, engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"default": 1})
    [job_id] = await enqueue(engine, asks_wrongly.new(name, None))
    with pytest.raises(InvalidArguments, match="a signal's name"):
        await oban.jobs.signal(job_id, name=name)
    [failed] = await events.wait_for(JobFinished, state=JobState.DISCARDED)
    assert "a signal's name" in str(failed.error)


@pytest.mark.parametrize("seconds", [-1, True, "1"])
async def test_a_wrong_timeout_is_refused(seconds: Any, engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 1})
    await enqueue(engine, asks_wrongly.new("n", seconds))
    [failed] = await events.wait_for(JobFinished, state=JobState.DISCARDED)
    assert "the timeout of a signal" in str(failed.error)


async def test_a_payload_that_cannot_be_stored_and_several_jobs_are_refused(engine: AsyncEngine) -> None:
    oban = SqlaOban(engine)
    [job_id] = await enqueue(engine, ask.new())
    with pytest.raises(UnserialisableValue):
        await oban.jobs.signal(job_id, datetime.now(UTC))
    with pytest.raises(InvalidSelection):
        await oban.jobs.signal([job_id], 1)  # type: ignore[arg-type]


async def test_a_refused_signal_leaves_the_callers_transaction_usable(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        with pytest.raises(JobNotFound):
            await SqlaOban(engine).jobs.signal(7, session=session)
        assert await session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize(
    "meta", ['["signals"]', "7", '{"signals": "signal"}', '{"signals": ["signal"], "signal_wait": 5}']
)
async def test_meta_of_another_shape_does_no_harm(
    meta: str, engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    """Another library may store any JSON there."""
    job_id = await table.add(worker="'parking.ask'", meta=f"'{meta}'")
    oban = await start(queues={"default": 1})
    await parked(events)
    await stored(table, job_id, "scheduled")
    assert await oban.jobs.signal(job_id, "fine")
    assert (await completed(events, engine))[0].result == "fine"
