"""What a worker returns, and how long it takes, as the table shows it afterwards."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Cancel, Job, JobState, Record, Snooze, current_job, job, worker
from sqla_oban.engine.dispatchers import thread_dispatcher
from sqla_oban.errors import DeclarationError
from sqla_oban.telemetry.events import JobFinished
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs

stop = threading.Event()


@job(name="outcomes.record")
async def record(value: Any) -> Record:
    return Record(value)


@job(name="outcomes.snooze_once")
async def snooze_once() -> object:
    snoozed.append(current_job().attempt)
    return Snooze(0.01, meta={"asked": len(snoozed)}) if len(snoozed) == 1 else None


@job(name="outcomes.cancel")
async def cancel() -> Cancel:
    return Cancel("the order was refunded")


@job(name="outcomes.too_slow", timeout=0.05, max_attempts=1)
async def too_slow() -> None:
    await asyncio.Event().wait()


@job(name="outcomes.too_slow_thread", timeout=timedelta(seconds=0.05), max_attempts=1)
def too_slow_thread() -> None:
    while not current_job().cancelled:
        stop.wait(0.01)
    raise RuntimeError("told to stop")


@job(name="outcomes.deaf_thread", timeout=0.05, max_attempts=1)
def deaf_thread() -> None:
    stop.wait()


@job(name="outcomes.timely", timeout=60)
async def timely() -> None: ...


@job(name="outcomes.perishable", deadline=60)
async def perishable() -> None: ...


@worker(name="outcomes.Bounded", max_attempts=1)
class Bounded:
    async def process(self, job: Job) -> None:
        await asyncio.Event().wait()

    def timeout(self, job: Job) -> float | None:
        return float(job.args["limit"])


snoozed: list[int] = []


@pytest.fixture(autouse=True)
def fresh() -> Any:
    snoozed.clear()
    stop.clear()
    yield
    stop.set()


async def ended(engine: AsyncEngine, start: Any, new: Job) -> Job:
    """The job after it was run."""
    await enqueue(engine, new)
    await start(queues={"default": 5})

    async def is_final() -> bool:
        return (await jobs(engine))[0].state in {JobState.COMPLETED, JobState.CANCELLED, JobState.DISCARDED}

    await eventually(is_final, "the job to end")
    return (await jobs(engine))[0]


@both_drivers
@pytest.mark.parametrize("value", [{"pages": [1, 2.5, None]}, "text \u2603", 0, False, [], None], ids=repr)
async def test_a_recorded_value_is_the_result_of_the_job(engine: AsyncEngine, start: Any, value: Any) -> None:
    stored = await ended(engine, start, record.with_options(meta={"kept": 1}).new(value))
    assert stored.state is JobState.COMPLETED
    assert stored.result == value
    assert stored.meta == {"kept": 1, "recorded_value": value}


async def test_a_job_that_recorded_nothing_has_no_result(engine: AsyncEngine, start: Any) -> None:
    stored = await ended(engine, start, timely.new())
    assert stored.result is None
    assert Job(worker="w").result is None
    assert Job(worker="w", meta={"recorded": True, "return": "g2EB"}).result is None, "a term of another library's"


async def test_a_value_that_cannot_be_recorded_is_a_failed_attempt(engine: AsyncEngine, start: Any) -> None:
    stored = await ended(engine, start, Job(worker="outcomes.record_a_set", max_attempts=1))
    assert stored.state is JobState.DISCARDED
    assert "the recorded value is a set" in stored.errors[0]["error"]


@job(name="outcomes.record_a_set")
async def record_a_set() -> Record:
    return Record({1, 2})


async def test_a_snooze_notes_its_meta_and_uses_up_no_attempt(engine: AsyncEngine, start: Any) -> None:
    stored = await ended(engine, start, snooze_once.with_options(meta={"kept": 1}).new())
    assert snoozed == [1, 1]
    assert stored.attempt == 1
    assert stored.meta == {"kept": 1, "snoozed": 1, "asked": 1}


async def test_a_cancel_keeps_its_reason(engine: AsyncEngine, start: Any) -> None:
    stored = await ended(engine, start, cancel.new())
    assert stored.state is JobState.CANCELLED
    assert stored.cancelled_at is not None
    assert [error["error"] for error in stored.errors] == ["cancelled: the order was refunded"]


@pytest.mark.parametrize("late", [too_slow, too_slow_thread, deaf_thread], ids=["async", "thread", "deaf thread"])
async def test_a_job_that_takes_longer_than_its_timeout_fails(engine: AsyncEngine, start: Any, late: Any) -> None:
    stored = await ended(engine, start, late.new())
    assert stored.state is JobState.DISCARDED
    assert f"JobTimeout: {late.name} was stopped after its timeout of 0.05 s" in stored.errors[0]["error"]


async def test_a_class_may_set_the_timeout_by_the_job(engine: AsyncEngine, start: Any) -> None:
    stored = await ended(engine, start, Job(worker="outcomes.Bounded", args={"limit": 0.03}, max_attempts=1))
    assert "after its timeout of 0.03 s" in stored.errors[0]["error"]


async def test_a_timeout_that_is_nonsense_is_a_failed_attempt(engine: AsyncEngine, start: Any) -> None:
    stored = await ended(engine, start, Job(worker="outcomes.Bounded", args={"limit": -1}, max_attempts=1))
    assert "timeout must return a number of seconds" in stored.errors[0]["error"]


@pytest.mark.parametrize(
    ("late_by", "attempt", "meta", "state"),
    [
        (30, 0, "{}", JobState.COMPLETED),
        (90, 0, "{}", JobState.CANCELLED),
        (90, 1, "{}", JobState.COMPLETED),
        (90, 0, '{"snoozed": 1}', JobState.COMPLETED),
    ],
    ids=["in time", "too late", "begun before", "snoozed before"],
)
async def test_a_job_that_does_not_begin_by_its_deadline_is_cancelled(
    engine: AsyncEngine, start: Any, events: Recorder, late_by: int, attempt: int, meta: str, state: JobState
) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO oban_jobs (worker, attempt, meta, scheduled_at) VALUES ('outcomes.perishable', :attempt, "
                "CAST(:meta AS jsonb), timezone('UTC', now()) - make_interval(secs => :late_by))"
            ),
            {"attempt": attempt, "meta": meta, "late_by": late_by},
        )
    await start(queues={"default": 5})
    (finished,) = await events.wait_for(JobFinished)
    assert finished.state is state


@pytest.mark.parametrize("name", ["timeout", "deadline"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "5", True, timedelta(0), 1e12])
def test_limits_that_are_no_spans_are_refused_at_the_declaration(name: str, value: Any) -> None:
    declare: Any = job
    with pytest.raises(DeclarationError, match=f"{name} must be seconds"):
        declare(name="outcomes.refused", **{name: value})(lambda: None)


async def test_a_thread_that_could_not_be_stopped_keeps_its_place_until_it_ends(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_dispatcher, "LAST_WORDS", 0.01)
    stop.clear()
    oban = await start(queues={"default": 1})
    [late] = await enqueue(engine, deaf_thread.new())
    await events.wait_for(JobFinished, id=late)
    [producer] = oban._node._producers
    await eventually(lambda: producer.running.ids == (), "the job to have ended")
    assert (len(producer.running), producer.asleep) == (1, False)
    [timely_job] = await enqueue(engine, timely.new())
    stop.set()
    await events.wait_for(JobFinished, id=timely_job, state=JobState.COMPLETED)
    await eventually(lambda: len(producer.running) == 0, "no place to be taken")
