"""A cancelled job ends cancelled, wherever it runs, whatever its worker does, also when the signal is lost."""

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban import Job, JobState, Record, Snooze, SqlaOban, current_job, job
from sqla_oban.telemetry.events import JobFinished, JobStarted
from tests.shop import gate, pass_gate
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs

log: list[str] = []
entered = threading.Event()
opened = threading.Event()


@job(name="cancelling.stubborn")
async def stubborn(then: str) -> object:
    """Takes no notice of its cancellation, and ends as `then` says."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        log.append("told")
    match then:
        case "return":
            return "done"
        case "record":
            return Record({"pages": 3})
        case "snooze":
            return Snooze(60)
        case _:
            raise ValueError(then)


@job(name="cancelling.tidy")
async def tidy() -> None:
    """Takes its time to clean up."""
    try:
        await asyncio.Event().wait()
    finally:
        while not opened.is_set():
            await asyncio.to_thread(opened.wait, 0.01)
        log.append("tidied")


@job(name="cancelling.thread")
def thread() -> str:
    entered.set()
    while not current_job().cancelled:
        opened.wait(0.01)
    log.append("told")
    return "done"


@job(name="cancelling.deaf")
def deaf() -> str:
    entered.set()
    opened.wait()
    return "done"


@job(name="cancelling.too_late")
async def too_late(url: str) -> None:
    """Ends before this node hears of its cancellation."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(CANCEL_UNHEARD, {"id": current_job().id})
    await engine.dispose()


CANCEL_UNHEARD = text(
    "UPDATE oban_jobs SET meta = meta || jsonb_build_object('cancel_requested', extract(epoch FROM attempted_at)) "
    "WHERE id = :id AND state = 'executing'"
)


@pytest.fixture(autouse=True)
def fresh() -> Any:
    log.clear()
    entered.clear()
    opened.clear()
    yield
    opened.set()


async def ended(engine: AsyncEngine) -> Job:
    """The only job, once it has ended."""

    async def is_over() -> bool:
        return not {one.state for one in await jobs(engine)} & {JobState.AVAILABLE, JobState.EXECUTING}

    await eventually(is_over, "the job's end")
    (only,) = await jobs(engine)
    return only


@both_drivers
async def test_an_async_worker_is_cancelled_where_it_awaits(start: Any, engine: AsyncEngine, events: Recorder) -> None:
    oban = await start(queues={"default": 5})
    with gate("cancelled") as here:
        (job_id,) = await enqueue(engine, pass_gate.new("cancelled"))
        await eventually(lambda: bool(here.entered))
        assert await oban.jobs.cancel(job_id) == 1
        done = await ended(engine)
        assert here.cancelled == [job_id]
    assert (done.state, done.attempt, done.cancelled_at is not None) == (JobState.CANCELLED, 1, True)
    assert [error["error"] for error in done.errors] == ["cancelled: on request, while it was running"]
    (event,) = await events.wait_for(JobFinished)
    assert (event.state, event.error) == (JobState.CANCELLED, None)


@pytest.mark.parametrize(
    ("then", "errors", "result"),
    [("return", 0, None), ("record", 0, {"pages": 3}), ("snooze", 0, None), ("raise", 1, None)],
)
async def test_it_ends_cancelled_whatever_the_worker_then_does(
    start: Any, engine: AsyncEngine, events: Recorder, then: str, errors: int, result: object
) -> None:
    oban = await start(queues={"default": 5})
    (job_id,) = await enqueue(engine, stubborn.new(then))
    await events.wait_for(JobStarted)
    await oban.jobs.cancel(job_id)
    done = await ended(engine)
    assert log == ["told"]
    assert (done.state, len(done.errors), done.result) == (JobState.CANCELLED, errors, result)
    assert not errors or "ValueError: raise" in done.errors[0]["error"]


async def test_a_thread_is_told(start: Any, engine: AsyncEngine) -> None:
    oban = await start(queues={"default": 5})
    (job_id,) = await enqueue(engine, thread.new())
    await eventually(entered.is_set)
    await oban.jobs.cancel(job_id)
    assert (await ended(engine)).state is JobState.CANCELLED
    await eventually(lambda: log == ["told"])


async def test_a_thread_that_does_not_listen_is_left_behind(
    start: Any, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    oban = await start(queues={"default": 5})
    (job_id,) = await enqueue(engine, deaf.new())
    await eventually(entered.is_set)
    await oban.jobs.cancel(job_id)
    assert (await ended(engine)).state is JobState.CANCELLED
    assert "goes on in its thread after it was told to stop" in caplog.text


async def test_a_second_cancellation_does_not_disturb_how_it_cleans_up(
    start: Any, engine: AsyncEngine, events: Recorder
) -> None:
    oban = await start(queues={"default": 5})
    (job_id,) = await enqueue(engine, tidy.new())
    await events.wait_for(JobStarted)
    for _ in range(3):
        await oban.jobs.cancel(job_id)
    opened.set()
    assert (await ended(engine)).state is JobState.CANCELLED
    assert log == ["tidied"]


@both_drivers
async def test_it_crosses_nodes(start: Any, engine: AsyncEngine) -> None:
    await start(queues={"default": 1}, node="one")
    await start(queues={"default": 1}, node="two")
    with gate("here") as here:
        ids = await enqueue(engine, pass_gate.new("here"), pass_gate.new("here"))
        await eventually(lambda: len(here.entered) == 2)
        await SqlaOban(engine).jobs.cancel(ids)
        await eventually(lambda: sorted(here.cancelled) == ids)


async def test_a_lost_signal_is_found_in_the_table(start: Any, engine: AsyncEngine) -> None:
    await start(queues={"default": 5})
    with gate("unsignalled") as here:
        (job_id,) = await enqueue(engine, pass_gate.new("unsignalled"))
        await eventually(lambda: bool(here.entered))
        async with engine.begin() as connection:
            await connection.execute(CANCEL_UNHEARD, {"id": job_id})
        assert (await ended(engine)).state is JobState.CANCELLED
        assert here.cancelled == [job_id]


@both_drivers
async def test_a_job_that_just_completes_before_it_hears_ends_cancelled(start: Any, engine: AsyncEngine) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, too_late.new(engine.url.render_as_string(hide_password=False)))
    assert (await ended(engine)).state == JobState.CANCELLED


async def test_a_job_that_was_cancelled_and_retried_runs_to_its_end(start: Any, engine: AsyncEngine) -> None:
    oban = await start(queues={"default": 5})
    with gate("twice") as here:
        (job_id,) = await enqueue(engine, pass_gate.new("twice"))
        await eventually(lambda: bool(here.entered))
        await oban.jobs.cancel(job_id)
        assert (await ended(engine)).state is JobState.CANCELLED
        await oban.jobs.retry(job_id)
        await eventually(lambda: len(here.entered) == 2)
        here.open()
        assert (await ended(engine)).state is JobState.COMPLETED


async def test_a_job_cancelled_during_the_shutdown_ends_cancelled(start: Any, engine: AsyncEngine) -> None:
    oban = await start(queues={"default": 5}, shutdown_grace_period=0.0)
    (job_id,) = await enqueue(engine, tidy.new())
    await eventually(lambda: _executing(engine))
    stopping = asyncio.create_task(oban.stop())
    await SqlaOban(engine).jobs.cancel(job_id)
    opened.set()
    await stopping
    assert (await ended(engine)).state is JobState.CANCELLED


async def _executing(engine: AsyncEngine) -> bool:
    return {one.state for one in await jobs(engine)} == {JobState.EXECUTING}
