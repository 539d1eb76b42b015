"""What is deleted, and what is kept."""

from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.settings import PrunerSettings, PruneRule
from sqla_oban.telemetry.events import Beaten, ServiceFailed
from tests.support import Recorder, eventually, jobs, pruned

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
    await pruned(events, 6)
    kept = [(job.state.value, job.id) for job in await jobs(engine)]
    assert kept == [("completed", 1), ("cancelled", 5), ("cancelled", 6), *(("discarded", id_) for id_ in (9, 10, 11))]


async def test_it_deletes_batch_after_batch_until_nothing_old_is_left(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await insert(engine, "completed", 3, count=25)
    await start(queues={"default": 1}, pruner=PrunerSettings(interval=0.2, batch=10))
    await pruned(events, 25)
    assert await jobs(engine) == []


REFUSES = (
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100';
    END
    $$
    """,
    """
    CREATE TRIGGER refuse BEFORE DELETE ON oban_jobs FOR EACH ROW WHEN (OLD.state = 'discarded')
      EXECUTE FUNCTION refuse()
    """,
)


async def test_a_turn_that_fails_tells_what_it_had_deleted(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    for state in ("completed", "discarded"):
        await insert(engine, state, 100)
    async with engine.begin() as connection:
        for statement in REFUSES:
            await connection.execute(text(statement))
    try:
        await start(queues={"default": 1}, pruner=PrunerSettings(interval=0.1))
        await events.wait_for(ServiceFailed)
        await pruned(events, 1)
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("DROP FUNCTION refuse() CASCADE"))


async def test_ages_are_set_by_state_and_none_keeps_for_ever(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    for state in ("completed", "cancelled", "discarded"):
        await insert(engine, state, 3)
    ages: dict[JobState, float | timedelta | None] = {
        JobState.COMPLETED: timedelta(days=2),
        JobState.CANCELLED: 4 * 86_400,
        JobState.DISCARDED: None,
    }
    await start(queues={"default": 1}, pruner=PrunerSettings(interval=0.1, max_age=ages))
    await pruned(events, 1)
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


async def insert_as(engine: AsyncEngine, count: int, **columns: str) -> None:
    given = {"worker": "'w'", "state": "'completed'", "completed_at": "timezone('UTC', now()) - interval '3 days'"}
    given |= columns
    async with engine.begin() as connection:
        await connection.execute(
            text(
                f"INSERT INTO oban_jobs ({', '.join(given)}) "
                f"SELECT {', '.join(given.values())} FROM generate_series(1, {count})"
            )
        )


async def test_rules_hold_for_their_queue_or_worker_and_the_worker_comes_first(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    for queue in ("events", "default"):
        for worker in ("audit", "noise", "w"):
            await insert_as(engine, 2, queue=f"'{queue}'", worker=f"'{worker}'")
    rules = [
        PruneRule(queue="events", max_age=timedelta(days=30)),
        PruneRule(worker="audit", max_age=None),
        PruneRule(worker="noise", max_age=3600),
        PruneRule(queue="default", states=[JobState.DISCARDED], max_age=1),
    ]
    await start(queues={"x": 1}, pruner=PrunerSettings(interval=0.2, batch=3, rules=rules))
    await pruned(events, 6)
    kept = {(job.queue, job.worker) for job in await jobs(engine)}
    assert kept == {("events", "audit"), ("default", "audit"), ("events", "w")}


async def test_limits_keep_the_newest_of_a_state_a_queue_and_a_worker(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    for age in range(5):
        at = f"timezone('UTC', now()) - interval '{age} minutes'"
        await insert_as(engine, 1, completed_at=at)
        await insert_as(engine, 1, completed_at=at, queue="'events'")
        await insert_as(engine, 1, completed_at=at, worker="'noise'")
        await insert_as(engine, 1, state="'discarded'", discarded_at=at)
    limits = PrunerSettings(
        interval=0.2,
        batch=2,
        max_kept={JobState.COMPLETED: 3},
        rules=[PruneRule(queue="events", max_kept=2), PruneRule(worker="noise", max_kept=1)],
    )
    await start(queues={"x": 1}, pruner=limits)
    await pruned(events, 9)
    left = await jobs(engine)
    assert [job.id for job in left if job.queue == "events"] == [2, 6]
    assert [job.id for job in left if job.worker == "noise"] == [3]
    assert [job.id for job in left if (job.queue, job.worker, job.state) == ("default", "w", "completed")] == [1, 5, 9]
    assert len([job for job in left if job.state == "discarded"]) == 5


async def test_older_jobs_that_are_kept_longer_do_not_hide_those_that_are_to_go(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await insert_as(engine, 50, queue="'kept'", completed_at="timezone('UTC', now()) - interval '9 days'")
    await insert_as(engine, 5)
    rules = [PruneRule(queue="kept", max_age=None)]
    await start(queues={"x": 1}, pruner=PrunerSettings(interval=0.1, batch=7, rules=rules))
    await pruned(events, 5)
    assert {job.queue for job in await jobs(engine)} == {"kept"}
    await insert_as(engine, 5)  # younger than those that were passed over
    await pruned(events, 10)


async def test_two_leaders_prune_the_same_jobs_without_a_quarrel(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await insert_as(engine, 2_000)
    for name in ("one", "two", "three"):
        await start(queues={name: 1}, name=name, pruner=PrunerSettings(interval=0.2, batch=50))

    async def none_left() -> bool:
        return await jobs(engine) == []

    await eventually(none_left, "all to be deleted")
    await pruned(events, 2_000)
    assert events.of(ServiceFailed, service="Pruner") == []
