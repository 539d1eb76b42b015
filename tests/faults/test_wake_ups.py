"""No wake-up is lost, whatever the order in which writers write and commit and producers fall asleep."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Job, JobState, insert_all
from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.sleep import Sleep
from sqla_oban.settings import StagerSettings
from sqla_oban.telemetry.events import JobFinished, ListenerUp
from tests.shop import gate, noop, pass_gate
from tests.support import PATIENCE, Recorder, both_drivers, enqueue, eventually, jobs

NEVER = StagerSettings(interval=3_600, deaf_interval=3_600)
WRITERS, TRANSACTIONS = 6, 20
FOR_EVER = 3_600.0
HUSHED = """
    SELECT CASE WHEN pg_try_advisory_lock_shared(oban_hush_key('default'))
      THEN NOT pg_advisory_unlock_shared(oban_hush_key('default')) ELSE true END
"""
SLEEPERS = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
def hushes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Has one notice suffice for a producer to hush, and notes whether it could each time."""
    hushes: list[bool] = []
    hush = Notifier.hush

    async def noting(notifier: Notifier, queue: str) -> int | None:
        generation = await hush(notifier, queue)
        hushes.append(generation is not None)
        return generation

    monkeypatch.setattr(Notifier, "hush", noting)
    monkeypatch.setattr("sqla_oban.engine.hush.RINGS", 1)
    monkeypatch.setattr("sqla_oban.engine.hush.WITHIN", 60.0)
    return hushes


@pytest.fixture
def falls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Notes each time a producer has fallen asleep, or has been told to look once more before it does."""
    falls: list[bool] = []
    fall = Sleep.fall

    async def noting(sleep: Sleep) -> bool:
        falls.append(await fall(sleep))
        return falls[-1]

    monkeypatch.setattr(Sleep, "fall", noting)
    return falls


@both_drivers
@pytest.mark.parametrize("seed", range(3))
async def test_every_job_runs_though_nobody_polls(seed: int, engine: AsyncEngine, start: Any, events: Recorder) -> None:
    """Were one wake-up lost, its job would wait for an hour: nothing else looks at the table."""
    for node in ("one", "two", "three"):
        await start(queues={"default": 2, "other": 1}, node=node, stager=NEVER, leadership=False)
    await events.wait_for(ListenerUp, count=3)
    await write_and_wait(engine, seed)


@both_drivers
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lull", [0.0, 0.02])
async def test_every_job_runs_though_producers_hush_each_other(
    seed: int,
    lull: float,
    engine: AsyncEngine,
    start: Any,
    events: Recorder,
    hushes: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They begin and end it all the time, because they are soon full, or soon find nothing."""
    monkeypatch.setattr("sqla_oban.engine.hush.LULL", lull)
    for node, limit in (("one", 2), ("two", 5), ("three", 20)):
        await start(queues={"default": limit, "other": 1}, node=node, stager=NEVER, leadership=False)
    await events.wait_for(ListenerUp, count=3)
    await write_and_wait(engine, seed)
    assert True in hushes


@both_drivers
async def test_a_writer_that_was_hushed_and_commits_later_is_found(
    engine: AsyncEngine, start: Any, events: Recorder, hushes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.hush.LULL", FOR_EVER)
    await start(queues={"default": 5}, stager=NEVER, leadership=False)
    await until_hushed(engine, events)
    async with AsyncSession(engine, expire_on_commit=False) as writer:
        writer.add(late := noop.new())
        await writer.flush()
        monkeypatch.setattr("sqla_oban.engine.hush.RINGS", 1_000)
        monkeypatch.setattr("sqla_oban.engine.hush.LULL", 0.0)
        await eventually(is_not(hushed, engine), "the hush to end")
        await writer.commit()
    await events.wait_for(JobFinished, id=late.id)


@both_drivers
async def test_a_writer_that_was_hushed_by_a_node_that_is_full_now_is_found_by_another(
    engine: AsyncEngine,
    start: Any,
    events: Recorder,
    hushes: list[bool],
    falls: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sqla_oban.engine.hush.LULL", FOR_EVER)
    monkeypatch.setattr("sqla_oban.engine.hush.STUCK", FOR_EVER)  # or a busy machine ends it, and the other is filled
    await start(queues={"default": 2}, node="one", stager=NEVER, leadership=False)
    await until_hushed(engine, events)
    fallen = falls.count(False)
    await start(queues={"default": 2}, node="two", stager=NEVER, leadership=False)
    await events.wait_for(ListenerUp, count=2)
    await eventually(lambda: falls.count(False) > fallen, "the other to sleep")
    await eventually(lambda: both_sleep(engine), "its key to be held")
    fallen = falls.count(False)
    with gate("full"):
        async with AsyncSession(engine, expire_on_commit=False) as writer:
            writer.add(late := noop.new())
            await writer.flush()
            await enqueue(engine, pass_gate.new("full"), pass_gate.new("full"))
            await eventually(is_not(hushed, engine), "the hush to end")
            await eventually(lambda: falls.count(False) > fallen, "the other to sleep again")
            await writer.commit()
        await events.wait_for(JobFinished, id=late.id, node="two")


@both_drivers
async def test_a_node_whose_loop_is_blocked_hushes_nobody(
    engine: AsyncEngine, start: Any, events: Recorder, hushes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.hush.LULL", FOR_EVER)
    await start(queues={"default": 5}, stager=NEVER, leadership=False)
    await until_hushed(engine, events)
    blocking = create_engine(engine.url.set(drivername="postgresql+psycopg"))
    deadline = time.monotonic() + PATIENCE
    with blocking.connect() as connection:  # not a moment is given to the loop meanwhile
        while connection.scalar(text(HUSHED)):
            assert time.monotonic() < deadline, "the pulse did not end it"
    blocking.dispose()


async def test_who_stops_or_pauses_hushes_nobody(
    engine: AsyncEngine, start: Any, events: Recorder, hushes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.hush.LULL", FOR_EVER)
    monkeypatch.setattr("sqla_oban.engine.hush.STUCK", FOR_EVER)
    oban = await start(queues={"default": 5}, stager=NEVER, leadership=False, shutdown_grace_period=PATIENCE)
    await until_hushed(engine, events)
    await oban.queues.pause("default")
    await eventually(is_not(hushed, engine), "the pause to end it")
    await oban.queues.resume("default")
    await until_hushed(engine, events)
    with gate("long") as long:
        await enqueue(engine, pass_gate.new("long"))
        await eventually(lambda: bool(long.entered), "the job to run")
        stopping = asyncio.create_task(oban.stop())
        await eventually(is_not(hushed, engine), "the stop to end it")
        assert not stopping.done()
    await stopping


async def test_a_hush_ends_with_its_connection_and_begins_anew(
    engine: AsyncEngine, start: Any, events: Recorder, hushes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.hush.LULL", FOR_EVER)
    await start(queues={"default": 5}, stager=NEVER, leadership=False)
    await until_hushed(engine, events)
    async with AsyncSession(engine, expire_on_commit=False) as writer, engine.connect() as killer:
        writer.add(late := noop.new())
        await writer.flush()
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'sqla_oban pulse' AND datname = current_database()"
        )
        await killer.execute(text(kill))
        await events.wait_for(ListenerUp, count=2)
        await writer.commit()
    await events.wait_for(JobFinished, id=late.id)
    await until_hushed(engine, events)


async def hushed(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return bool(await connection.scalar(text(HUSHED)))


def is_not(condition: Callable[[AsyncEngine], Awaitable[bool]], engine: AsyncEngine) -> Callable[[], Awaitable[bool]]:
    async def no_longer() -> bool:
        return not await condition(engine)

    return no_longer


async def both_sleep(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return bool(await connection.scalar(text(SLEEPERS)) == 2)


async def until_hushed(engine: AsyncEngine, events: Recorder) -> None:
    """Has a node be rung until it hushes, and nothing is left to do."""
    await events.wait_for(ListenerUp)

    async def after_another_job() -> bool:
        (id_,) = await enqueue(engine, noop.new())
        await events.wait_for(JobFinished, id=id_)
        return await hushed(engine)

    await eventually(after_another_job, "somebody to hush")


async def write_and_wait(engine: AsyncEngine, seed: int) -> None:
    written = await asyncio.gather(*(write(engine, random.Random(f"{seed} {writer}")) for writer in range(WRITERS)))

    async def all_done() -> bool:
        stored = await jobs(engine)
        return len(stored) == sum(written) and {job.state for job in stored} == {JobState.COMPLETED}

    await eventually(all_done, "every job to run", patience=60)


async def write(engine: AsyncEngine, chance: random.Random) -> int:
    """Transactions that insert in one of several ways, stay open for a moment, and commit or do not."""
    committed = 0
    for _ in range(TRANSACTIONS):
        async with AsyncSession(engine) as session:
            count = chance.randint(1, 3)
            await insert(session, count, chance)
            await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": chance.choice([0, 0, 0.002, 0.02])})
            if chance.random() < 0.2:
                await session.rollback()
            else:
                await session.commit()
                committed += count
    return committed


async def insert(session: AsyncSession, count: int, chance: random.Random) -> None:
    new = [_made(chance) for _ in range(count)]
    match chance.randrange(4):
        case 0:
            session.add_all(new)
            await session.flush()
        case 1:
            await insert_all(session, new)
        case 2:
            async with session.begin_nested() as dropped:
                session.add(_made(chance))
                await session.flush()
                await dropped.rollback()
            session.add_all(new)
        case _:
            for job in new:
                sql = text("INSERT INTO oban_jobs (worker, queue) VALUES (:worker, :queue)")
                await session.execute(sql, {"worker": job.worker, "queue": job.queue})


def _made(chance: random.Random) -> Job:
    worker = noop.with_options(queue=chance.choice(["default", "default", "other"]))
    return (worker.with_options(schedule_in=0.05) if chance.random() < 0.1 else worker).new()
