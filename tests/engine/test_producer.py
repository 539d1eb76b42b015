"""What is claimed, in which order, and what cannot be in the way."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Job, JobState
from sqla_oban.telemetry.events import JobFinished, JobStarted
from tests.shop import fail, gate, noop, pass_gate
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs


async def settled(engine: AsyncEngine) -> bool:
    return {job.state for job in await jobs(engine)} <= {JobState.COMPLETED, JobState.DISCARDED}


async def test_jobs_start_by_priority_then_schedule_then_id(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    low, high, first, second = await enqueue(
        engine,
        noop.with_options(priority=9).new(),
        noop.with_options(priority=1).new(),
        noop.with_options(priority=5).new(),
        noop.with_options(priority=5).new(),
    )
    await start(queues={"default": 1})
    started = await events.wait_for(JobStarted, count=4)
    assert [event.id for event in started] == [high, first, second, low]


@pytest.mark.parametrize("priority", [0, 5, 9])
async def test_an_urgent_job_that_arrives_while_the_queue_is_drained_is_the_next(
    priority: int, engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    lesser = [noop.with_options(priority=max(priority, 1)).new() for _ in range(20)]
    with gate("first") as first:
        ids = await enqueue(engine, pass_gate.with_options(priority=priority).new("first"), *lesser)
        await start(queues={"default": 1})
        await eventually(lambda: first.entered == ids[:1], "the first to run")
        (urgent,) = await enqueue(engine, noop.new())
    await events.wait_for(JobStarted, id=urgent)
    order = [event.id for event in events.of(JobStarted)]
    assert order[:2] == [ids[0], urgent]


@both_drivers
async def test_rows_that_only_postgresql_can_read_stop_nothing(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    huge = "9" * 5_000
    odd = [
        "priority) VALUES ('shop.noop', 12",
        "priority) VALUES ('shop.noop', 32767",
        "scheduled_at) VALUES ('shop.noop', 'infinity'",
        "scheduled_at) VALUES ('shop.noop', '-infinity'",
        "scheduled_at) VALUES ('shop.noop', '20000-01-01'",
        "inserted_at) VALUES ('shop.noop', '4000-01-01 BC'",
        "meta) VALUES ('shop.noop', '[1]'",
        "meta) VALUES ('shop.noop', '7'",
        "errors) VALUES ('shop.noop', '{}'",
        "tags) VALUES ('shop.noop', '{{a,b},{c,NULL}}'",
        "attempt, max_attempts) VALUES ('shop.noop', 32766, 32767",
    ]
    broken = [
        "max_attempts) VALUES ('nobody.knows.me', 1",
        "max_attempts, args) VALUES ('shop.noop', 1, '[]'",
        "max_attempts, args) VALUES ('shop.noop', 1, '\"text\"'",
        "max_attempts, args) VALUES ('shop.noop', 1, '{\"unknown\": 1}'",
        f"max_attempts, args) VALUES ('shop.noop', 1, '{{\"n\": {huge}}}'",
        "max_attempts, errors) VALUES ('nobody.knows.me', 1, '{}'",
        "max_attempts, meta) VALUES ('nobody.knows.me', 1, '\"text\"'",
        "attempt, max_attempts) VALUES ('shop.noop', 32767, 32767",
    ]
    async with engine.begin() as connection:
        for row in [*odd, *broken, "queue) VALUES ('shop.noop', 'default'"]:
            await connection.exec_driver_sql(f"INSERT INTO oban_jobs (worker, {row})".replace("%", "%%"))
    await start(queues={"default": 3})

    async def states() -> list[str]:
        async with engine.connect() as connection:
            return list(await connection.scalars(text("SELECT state::text FROM oban_jobs ORDER BY id")))

    async def ended() -> bool:
        return set(await states()) == {"completed", "discarded"}

    await eventually(ended, "all jobs to end")
    assert await states() == ["completed"] * len(odd) + ["discarded"] * len(broken) + ["completed"]


async def test_an_unknown_worker_is_a_failed_attempt_that_names_it(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 3})
    await enqueue(engine, Job(worker="nobody.knows.me", max_attempts=2))
    await events.wait_for(JobFinished, state=JobState.RETRYABLE)

    async def written() -> bool:
        return (await jobs(engine))[0].state is JobState.RETRYABLE

    await eventually(written, "the failure to be written")
    (job,) = await jobs(engine)
    assert "no worker is named 'nobody.knows.me'" in job.errors[0]["error"]
    assert job.errors[0]["attempt"] == 1
    assert job.scheduled_at > job.inserted_at


async def test_exhausted_jobs_do_not_fill_the_claim(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO oban_jobs (worker, attempt, max_attempts) "
                "SELECT 'shop.noop', 3, 3 FROM generate_series(1, 50)"
            )
        )
    (id_,) = await enqueue(engine, noop.new())
    await start(queues={"default": 2})
    await events.wait_for(JobFinished, id=id_)
    await eventually(lambda: settled(engine), "the exhausted to be discarded")
    assert len(events.of(JobStarted)) == 1


async def test_a_failing_job_is_retried_with_its_errors_kept_until_it_is_discarded(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 3})
    await enqueue(engine, fail.with_options(max_attempts=3).new("no such order"))
    await events.wait_for(JobFinished, state=JobState.DISCARDED)
    await eventually(lambda: settled(engine), "the last failure to be written")
    (job,) = await jobs(engine)
    assert [error["attempt"] for error in job.errors] == [1, 2, 3]
    assert all("ValueError: no such order" in error["error"] for error in job.errors)
    assert all("Traceback" in error["error"] for error in job.errors)
    assert job.discarded_at is not None


async def test_a_scheduled_job_runs_when_it_is_due_and_not_before(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 3})
    soon, _ = await enqueue(
        engine, noop.with_options(schedule_in=0.5).new(), noop.with_options(schedule_in=3_600).new()
    )
    await events.wait_for(JobFinished, id=soon)
    await eventually(lambda: settled_one(engine), "its outcome to be written")
    first, second = await jobs(engine)
    assert first.attempted_at is not None
    assert first.attempted_at >= first.scheduled_at
    assert second.state is JobState.SCHEDULED


async def settled_one(engine: AsyncEngine) -> bool:
    return (await jobs(engine))[0].state is JobState.COMPLETED


async def test_a_queue_of_another_node_is_left_alone(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"mine": 3})
    await enqueue(engine, noop.with_options(queue="theirs").new())
    (mine,) = await enqueue(engine, noop.with_options(queue="mine").new())
    await events.wait_for(JobFinished, id=mine)
    theirs, _ = await jobs(engine)
    assert theirs.state is JobState.AVAILABLE
