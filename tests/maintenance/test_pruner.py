"""What is deleted, and what is kept."""

from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.settings import PrunerSettings
from sqla_oban.telemetry.events import Beaten, JobsPruned
from tests.support import Recorder, jobs

ENDED = """
    INSERT INTO oban_jobs (worker, state, {state}_at)
    SELECT 'shop.noop', '{state}', timezone('UTC', now()) - make_interval(days => {days})
    FROM generate_series(1, {count})
"""


async def insert(engine: AsyncEngine, state: str, days: int, count: int = 1) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(ENDED.format(state=state, days=days, count=count)))


async def test_failures_are_kept_longer_than_successes_by_default(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    for state in ("completed", "cancelled", "discarded"):
        for days in (0, 3, 10, 40):
            await insert(engine, state, days)
    await start(queues={"default": 1}, pruner=PrunerSettings(interval=0.1))
    await events.wait_for(JobsPruned)
    kept = [(job.state.value, job.id) for job in await jobs(engine)]
    assert kept == [("completed", 1), ("cancelled", 5), ("cancelled", 6), *(("discarded", id_) for id_ in (9, 10, 11))]


async def test_it_deletes_batch_after_batch_until_nothing_old_is_left(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await insert(engine, "completed", 3, count=25)
    await start(queues={"default": 1}, pruner=PrunerSettings(interval=600, batch=10))
    (pruned,) = await events.wait_for(JobsPruned)
    assert pruned.count == 25
    assert await jobs(engine) == []


async def test_ages_are_set_by_state_and_none_keeps_for_ever(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    for state in ("completed", "cancelled", "discarded"):
        await insert(engine, state, 3)
    ages: dict[JobState, float | timedelta | None] = {
        JobState.COMPLETED: timedelta(days=2),
        JobState.CANCELLED: 4 * 86_400,
        JobState.DISCARDED: None,
    }
    await start(queues={"default": 1}, pruner=PrunerSettings(interval=0.1, max_age=ages))
    await events.wait_for(JobsPruned)
    assert [job.state for job in await jobs(engine)] == [JobState.CANCELLED, JobState.DISCARDED]


async def test_what_has_not_ended_is_never_deleted(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO oban_jobs (worker, queue, state, inserted_at, scheduled_at, completed_at) "
                "SELECT 'w', 'elsewhere', state, '2000-01-01', '2100-01-01', '2000-01-01' FROM "
                "unnest(ARRAY['available', 'scheduled', 'suspended', 'executing', 'retryable']::oban_job_state[]) state"
            )
        )
    await start(queues={"default": 1}, pruner=PrunerSettings(interval=0.05))
    await events.wait_for(Beaten, count=5)
    assert len(await jobs(engine)) == 5


async def test_only_the_leader_prunes(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await insert(engine, "completed", 3)
    await start(queues={"default": 1}, leadership=False, pruner=PrunerSettings(interval=0.05))
    await events.wait_for(Beaten, count=5)
    assert len(await jobs(engine)) == 1
