"""Nodes keep within the limits of a queue together, and nothing waits for longer than they ask for."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from sqla_oban import JobState, QueueConfig, RateLimit, SqlaOban, insert_all
from sqla_oban.engine import claims
from sqla_oban.engine.database import Link
from sqla_oban.settings import StagerSettings
from sqla_oban.telemetry.events import JobFinished, JobStarted, QueueScaled
from tests.shop import gate, noop, pass_gate
from tests.support import Recorder, asleep, both_drivers, enqueue, eventually, jobs

UNPOLLED = {"stager": StagerSettings(interval=600.0, deaf_interval=0.1)}
"""Nobody looks for what he was not told of."""


async def executing(engine: AsyncEngine) -> int:
    return sum(job.state is JobState.EXECUTING for job in await jobs(engine))


async def waiting_for(engine: AsyncEngine, state: JobState, count: int) -> None:
    async def there() -> bool:
        return Counter(job.state for job in await jobs(engine))[state] == count

    await eventually(there, f"{count} jobs to be {state}")


@both_drivers
async def test_nodes_keep_within_a_global_limit_and_a_slot_that_is_freed_is_used_at_once(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    config = QueueConfig(limit=1, global_limit=2)
    for node in ("one", "two", "three"):
        await start(queues={"default": config}, node=node, **UNPOLLED)
    with gate("all") as door:
        await enqueue(engine, *(pass_gate.new("all") for _ in range(6)))
        await eventually(lambda: len(door.entered) == 2, "two to run")
        assert await executing(engine) == 2
        door.open()
        await events.wait_for(JobFinished, count=6)
    assert {event.state for event in events.of(JobFinished)} == {JobState.COMPLETED}


@both_drivers
async def test_slots_that_go_from_job_to_job_are_one_commit_each_and_all_nodes_together_run_each_job_once(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Link.fetch
    together: list[int] = []

    async def noted(link: Link, statement: Any, parameters: Any) -> Any:
        if "of_queue" in parameters:
            together.extend(parameters.get("ids", []))
        return await fetch(link, statement, parameters)

    monkeypatch.setattr(claims, "KEEP", 600.0)
    monkeypatch.setattr(Link, "fetch", noted)
    ids = await enqueue(engine, *(noop.new() for _ in range(60)))
    for node in ("one", "two"):
        await start(queues={"default": QueueConfig(limit=5, global_limit=3)}, node=node, **UNPOLLED)
    await events.wait_for(JobFinished, count=60)
    await waiting_for(engine, JobState.COMPLETED, 60)
    assert together
    assert sorted(event.id for event in events.of(JobStarted)) == ids


async def test_a_node_that_waits_for_a_slot_is_rung_whoever_frees_it(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": QueueConfig(global_limit=1)}, **UNPOLLED)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO oban_jobs (worker, state, attempt, attempted_at, attempted_by, partition) "
                "VALUES ('w', 'executing', 1, now(), ARRAY['n', gen_random_uuid()::text], '')"
            )
        )
    (waits,) = await enqueue(engine, noop.new())
    await eventually_asleep(engine)
    assert events.of(JobStarted) == []
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM oban_jobs WHERE state = 'executing'"))
    await events.wait_for(JobFinished, id=waits)


async def eventually_asleep(engine: AsyncEngine) -> None:
    await eventually(lambda: asleep(engine), "the producer to fall asleep")


@both_drivers
@pytest.mark.parametrize("algorithm", ["sliding", "fixed", "bucket"])
async def test_a_rate_is_kept_and_jobs_start_when_it_has_room_again(
    algorithm: str, engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    config = QueueConfig(rate_limit=RateLimit(2, 0.3, algorithm))
    for node in ("one", "two"):
        await start(queues={"default": config}, node=node, **UNPOLLED)
    await enqueue(engine, *(noop.new() for _ in range(6)))
    await events.wait_for(JobFinished, count=6)
    began = sorted(job.attempted_at for job in await jobs(engine) if job.attempted_at is not None)
    if algorithm == "sliding":
        assert all((later - first).total_seconds() >= 0.3 for first, later in zip(began, began[2:], strict=False))


async def test_partitions_have_the_limit_each_for_itself(engine: AsyncEngine, start: Any) -> None:
    config = QueueConfig(limit=10, global_limit=2, partition=("meta", "account"))
    with gate("all") as door:
        accounts = {
            id_: account
            for account in ("a", "b", None)
            for id_ in await enqueue(
                engine, *(pass_gate.with_options(meta={"account": account}).new("all") for _ in range(4))
            )
        }
        await start(queues={"default": config})
        await eventually(lambda: len(door.entered) == 6, "two of each to run")
        await eventually_asleep(engine)
        assert Counter(accounts[id_] for id_ in door.entered) == {"a": 2, "b": 2, None: 2}


async def test_limits_change_at_run_time_on_all_nodes_and_for_those_to_come(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    one = await start(queues={"default": 10}, node="one")
    await start(queues={"default": 10}, node="two")
    await one.queues.scale("default", global_limit=2)

    async def both_know() -> bool:
        known = await one.queues.check_all(everywhere=True)
        return [(queue.node, queue.global_limit) for queue in known] == [("one", 2), ("two", 2)]

    await eventually(both_know, "the other to have heard of its first limit")
    with gate("all") as door:
        await enqueue(engine, *(pass_gate.new("all") for _ in range(6)))
        await waiting_for(engine, JobState.EXECUTING, 2)
        await start(queues={"default": 10}, node="three")
        await one.queues.scale("default", global_limit=3, limit=7)
        await waiting_for(engine, JobState.EXECUTING, 3)
        await events.wait_for(QueueScaled, count=3, limit=7)
        await one.queues.scale("default", global_limit=False)
        await waiting_for(engine, JobState.EXECUTING, 6)
        door.open()
        await events.wait_for(JobFinished, count=6)


async def test_a_rate_that_is_given_at_run_time_is_kept_and_can_be_lifted(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"default": QueueConfig(rate_limit=RateLimit(9, 600))})
    await oban.queues.scale("default", rate_limit=RateLimit(2, 600))
    await enqueue(engine, *(noop.new() for _ in range(5)))
    await events.wait_for(JobFinished, count=2)
    await waiting_for(engine, JobState.COMPLETED, 2)
    await oban.queues.scale("default", rate_limit=False)
    await events.wait_for(JobFinished, count=5)


async def test_a_weight_is_stored_however_a_job_is_enqueued(
    engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]
) -> None:
    heavy = noop.with_options(weight=7)
    async with sessions() as session, session.begin():
        session.add(heavy.new())
        await insert_all(session, [heavy.new(), noop.new()])
    assert [job.weight for job in await jobs(engine)] == [7, 7, None]


async def test_jobs_that_were_sorted_into_partitions_run_where_there_are_none(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    divided = QueueConfig(global_limit=1, partition="worker")
    with gate("first") as first:
        await enqueue(engine, pass_gate.new("first"), pass_gate.new("first"))
        one: SqlaOban = await start(queues={"default": divided}, node="one")
        await eventually(lambda: len(first.entered) == 1, "the first to run")

        async def sorted_() -> bool:
            return {job.partition is not None for job in await jobs(engine)} == {True}

        await eventually(sorted_, "the other to have its partition")
        first.open()
        await one.stop()
    with gate("first") as first:
        first.open()
        await start(queues={"default": 5}, node="two")
        await waiting_for(engine, JobState.COMPLETED, 2)
