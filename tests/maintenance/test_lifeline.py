"""Who is rescued, and who is not."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.producers import producer_id
from sqla_oban.queries.rescue import rescue
from sqla_oban.settings import LifelineSettings
from sqla_oban.telemetry.events import Beaten, JobFinished, JobRefused, JobRescued, ServiceFailed
from tests.shop import gate, noop, pass_gate
from tests.support import Recorder, enqueue, eventually, fast_settings, jobs

EXECUTING = """
    INSERT INTO oban_jobs (worker, queue, state, attempt, max_attempts, attempted_at, attempted_by)
    VALUES ('shop.noop', 'elsewhere', 'executing', :attempt, 2,
            timezone('UTC', now()) - make_interval(secs => :age), ARRAY['gone', CAST(:holder AS text)])
"""
PRODUCER = """
    INSERT INTO oban_producers (uuid, node, queue, meta, started_at, updated_at)
    VALUES (CAST(:holder AS uuid), 'gone', 'elsewhere', CAST(:meta AS jsonb), timezone('UTC', now()) - interval '1 day',
            timezone('UTC', now()) - make_interval(secs => :silent))
"""


async def execute(engine: AsyncEngine, statement: str, **parameters: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), parameters)


async def test_a_job_of_an_expired_producer_is_rescued_and_the_producer_forgotten(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    holder = str(producer_id())
    await execute(engine, PRODUCER, holder=holder, meta='{"ttl": 5}', silent=6)
    await execute(engine, EXECUTING, holder=holder, age=60, attempt=1)
    await execute(engine, EXECUTING, holder=holder, age=60, attempt=2)
    await start(queues={"default": 1})
    await events.wait_for(JobRescued, count=2)
    again, exhausted = await jobs(engine)
    assert (again.state, again.attempt, again.meta) == (JobState.AVAILABLE, 1, {"rescued": 1})
    assert (exhausted.state, exhausted.attempt) == (JobState.DISCARDED, 2)
    assert exhausted.discarded_at is not None
    assert "node gone disappeared" in exhausted.errors[0]["error"]

    async def forgotten() -> bool:
        async with engine.connect() as connection:
            return not await connection.scalar(text("SELECT count(*) FROM oban_producers WHERE node = 'gone'"))

    await eventually(forgotten, "the producer to be forgotten")


@pytest.mark.parametrize(
    ("meta", "silent"), [('{"ttl": 600}', 60), ("{}", 30)], ids=["ours, within its ttl", "foreign, within a minute"]
)
async def test_a_job_of_a_live_producer_is_left_alone_however_old(
    engine: AsyncEngine, start: Any, events: Recorder, meta: str, silent: int
) -> None:
    holder = str(producer_id())
    await execute(engine, PRODUCER, holder=holder, meta=meta, silent=silent)
    await execute(engine, EXECUTING, holder=holder, age=1_000_000, attempt=1)
    node = await start(queues={"default": 1})
    await eventually(lambda: node.is_leader, "it to lead")
    await events.wait_for(Beaten, count=10)
    assert events.of(JobRescued) == []


async def test_after_a_crash_emptied_their_table_live_producers_have_time_to_register_again(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    lifeline = LifelineSettings(interval=0.05, grace=600)
    node = await start(queues={"default": 1}, lifeline=lifeline)
    await eventually(lambda: node.is_leader, "it to lead")
    with gate("long") as long:
        (id_,) = await enqueue(engine, pass_gate.new("long"))
        await eventually(lambda: long.entered == [id_], "the job to run")
        await execute(engine, "TRUNCATE oban_producers")
        await execute(engine, EXECUTING, holder=str(producer_id()), age=1, attempt=1)
        await events.wait_for(Beaten, count=len(events.of(Beaten)) + 5)
        assert events.of(JobRescued) == []
    await events.wait_for(JobFinished, id=id_, state=JobState.COMPLETED)


async def test_and_when_they_had_it_the_jobs_of_those_that_did_not_come_back_are_rescued(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await execute(engine, EXECUTING, holder=str(producer_id()), age=1, attempt=1)
    await start(queues={"default": 1}, lifeline=LifelineSettings(interval=0.1, grace=0.5))
    await events.wait_for(JobRescued)


async def test_jobs_of_a_library_without_heartbeats_are_left_alone_unless_asked_for(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await execute(engine, EXECUTING, holder="2f9b7c9e-2d0f-4c4e-9d55-4d7a4f9d9a11", age=90, attempt=1)
    node = await start(queues={"default": 1}, lifeline=LifelineSettings(interval=0.05, grace=0.1))
    await eventually(lambda: node.is_leader, "it to lead")
    await events.wait_for(Beaten, count=10)
    assert events.of(JobRescued) == []
    await node.stop()
    await start(queues={"default": 1}, lifeline=LifelineSettings(interval=0.05, rescue_after=60))
    await events.wait_for(JobRescued, id=1)


async def test_rescues_go_on_batch_after_batch_past_locked_rows(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    holder = str(producer_id())
    await execute(engine, PRODUCER, holder=holder, meta='{"ttl": 5}', silent=6)
    for _ in range(7):
        await execute(engine, EXECUTING, holder=holder, age=60, attempt=1)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM oban_jobs WHERE id = 3 FOR UPDATE"))
        await start(queues={"default": 1}, lifeline=LifelineSettings(interval=0.1, batch=2))
        await events.wait_for(JobRescued, count=6)
        assert {event.id for event in events.of(JobRescued)} == {1, 2, 4, 5, 6, 7}
    await events.wait_for(JobRescued, id=3)


async def test_an_orphan_that_a_unique_index_refuses_holds_up_no_other(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    """As where an application allows one available job of a kind, and another was enqueued while this one ran."""
    holder = str(producer_id())
    await execute(engine, PRODUCER, holder=holder, meta='{"ttl": 5}', silent=6)
    for _ in range(7):
        await execute(engine, EXECUTING, holder=holder, age=60, attempt=1)
    await execute(engine, "UPDATE oban_jobs SET meta = jsonb_build_object('kind', id)")
    await execute(
        engine, "INSERT INTO oban_jobs (worker, queue, meta) VALUES ('shop.noop', 'elsewhere', '{\"kind\": 3}')"
    )
    await execute(engine, "CREATE UNIQUE INDEX one_of_a_kind ON oban_jobs ((meta -> 'kind')) WHERE state = 'available'")
    try:
        await start(queues={"default": 1}, lifeline=LifelineSettings(interval=0.1, batch=4))
        await events.wait_for(JobRescued, count=6)
        assert {event.id for event in events.of(JobRescued)} == {1, 2, 4, 5, 6, 7}
        refused, *_ = await events.wait_for(JobRefused)
        assert "one_of_a_kind" in refused.error
        assert {event.id for event in events.of(JobRefused)} == {3}
        assert events.of(ServiceFailed) == []
    finally:
        await execute(engine, "DROP INDEX one_of_a_kind")


async def test_only_the_leader_rescues(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    holder = str(producer_id())
    await execute(engine, PRODUCER, holder=holder, meta='{"ttl": 5}', silent=6)
    await execute(engine, EXECUTING, holder=holder, age=60, attempt=1)
    follower = {**fast_settings(), "queues": {"default": 1}, "leadership": False}
    await start(**follower)
    await events.wait_for(Beaten, count=5)
    assert events.of(JobRescued) == []


async def test_a_rescued_job_wakes_a_sleeping_producer(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"elsewhere": 1}, lifeline=LifelineSettings(interval=0.1))
    (id_,) = await enqueue(engine, noop.with_options(queue="elsewhere").new())
    await events.wait_for(JobFinished, id=id_)
    holder = str(producer_id())
    await execute(engine, EXECUTING, holder=holder, age=60, attempt=1)
    await execute(engine, PRODUCER, holder=holder, meta='{"ttl": 5}', silent=6)
    await events.wait_for(JobFinished, count=2)


async def test_a_job_claimed_anew_while_it_is_being_looked_at_is_left_alone(engine: AsyncEngine) -> None:
    """The look is held up, by a lock in its scan, between its snapshot and its row lock."""
    dead, alive = str(producer_id()), str(producer_id())
    await execute(engine, PRODUCER, holder=dead, meta='{"ttl": 5}', silent=6)
    await execute(engine, PRODUCER, holder=alive, meta='{"ttl": 600}', silent=0)
    await execute(engine, EXECUTING, holder=dead, age=60, attempt=1)

    def hold_up(_: object, __: object, sql: str, parameters: Any, *___: object) -> tuple[str, Any]:
        held = "WHERE (SELECT pg_advisory_lock_shared(42) WHERE oban_jobs.id > 0) IS NOT NULL AND oban_jobs.state"
        return sql.replace("WHERE oban_jobs.state", held, 1) if "suspects" in sql else sql, parameters

    event.listen(engine.sync_engine, "before_cursor_execute", hold_up, retval=True)
    asked: dict[str, Any] = {"batch": 10, "grace": 30.0, "rescue_after": None, "aside": []}
    async with engine.connect() as gate:
        await gate.execute(text("SELECT pg_advisory_lock(42)"))

        async def look() -> list[Any]:
            async with engine.begin() as connection:
                return list((await connection.execute(rescue(None), asked)).all())

        looking = asyncio.create_task(look())

        async def is_held_up() -> bool:
            waiting = await gate.scalar(
                text(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            )
            return bool(waiting)

        await eventually(is_held_up, "the look to be held up")
        await execute(
            engine,
            "UPDATE oban_jobs SET attempt = 2, attempted_at = timezone('UTC', clock_timestamp()), "
            "attempted_by = ARRAY['alive', CAST(:holder AS text)]",
            holder=alive,
        )
        await gate.execute(text("SELECT pg_advisory_unlock(42)"))
        assert await looking == []
    (job,) = await jobs(engine)
    assert (job.state, job.attempted_by[0]) == (JobState.EXECUTING, "alive")
