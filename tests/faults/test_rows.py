"""Rows that somebody holds, refuses or refers to: each is in nobody's way but its own."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState, SqlaOban
from sqla_oban.settings import PrunerSettings
from sqla_oban.telemetry.events import AcksDelayed, JobFinished
from tests.shop import gate, noop, pass_gate
from tests.support import Recorder, both_drivers, enqueue, eventually, fast_settings, jobs, pruned

RAISED = "P0001"
"""What a plain RAISE EXCEPTION has as its SQLSTATE."""


async def states(engine: AsyncEngine) -> list[JobState]:
    return [job.state for job in await jobs(engine)]


async def are(engine: AsyncEngine, expected: list[JobState]) -> bool:
    return await states(engine) == expected


@both_drivers
async def test_a_locked_row_holds_up_neither_other_outcomes_nor_staging(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 30})
    with gate("all") as all_of_them:
        ids = await enqueue(engine, *(pass_gate.new("all") for _ in range(20)))
        await eventually(lambda: len(all_of_them.entered) == 20, "the jobs to run")
        async with engine.begin() as connection:
            await connection.execute(text("SELECT FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": ids[3]})
            all_of_them.open()
            (later,) = await enqueue(engine, noop.with_options(schedule_in=0.1).new())
            await events.wait_for(JobFinished, id=later)
            expected = [JobState.COMPLETED] * 21
            expected[3] = JobState.EXECUTING
            await eventually(lambda: are(engine, expected), "the others to be written")
    await eventually(lambda: are(engine, [JobState.COMPLETED] * 21), "the last to be written")
    assert len(events.of(JobFinished)) == 21


async def test_a_trigger_that_refuses_one_outcome_holds_up_no_other(
    engine: AsyncEngine, start: Any, events: Recorder, refusals: Any
) -> None:
    await refusals(RAISED)
    await start(queues={"default": 30})
    await enqueue(engine, noop.with_options(meta={"refused": 1}).new(), *(noop.new() for _ in range(20)))
    expected = [JobState.EXECUTING] + [JobState.COMPLETED] * 20
    await eventually(lambda: are(engine, expected), "the others to be written")
    await refusals(None)
    await eventually(lambda: are(engine, [JobState.COMPLETED] * 21), "the last to be written")
    assert len(events.of(JobFinished)) == 21


async def test_stopping_waits_a_little_for_an_outcome_that_is_refused(
    engine: AsyncEngine, events: Recorder, refusals: Any
) -> None:
    await refusals(RAISED)
    async with SqlaOban(engine, queues={"default": 5}, **fast_settings()):
        await enqueue(engine, noop.with_options(meta={"refused": 1}).new())
        await events.wait_for(AcksDelayed)
        await refusals(None)
    assert await states(engine) == [JobState.COMPLETED]


async def test_jobs_that_other_tables_refer_to_are_kept_and_the_others_pruned(
    engine: AsyncEngine, start: Any, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO oban_jobs (worker, state, completed_at, discarded_at) "
                "SELECT 'w', s::oban_job_state, '2020-01-01'::timestamp + n * interval '1 s', '2020-01-01' "
                "FROM unnest(ARRAY['completed', 'discarded']) s, generate_series(1, 50) n"
            )
        )
        await connection.execute(text("CREATE TABLE invoices (job_id bigint REFERENCES oban_jobs (id))"))
        await connection.execute(text("INSERT INTO invoices VALUES (1), (17), (60)"))
    await start(queues={"default": 1}, pruner=PrunerSettings(interval=0.2, batch=10))
    await pruned(events, 97)
    kept = [job.id for job in await jobs(engine)]
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE invoices"))
    assert kept == [1, 17, 60]
    assert "referred to by another table" in caplog.text
