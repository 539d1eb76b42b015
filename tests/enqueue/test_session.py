"""Jobs commit with the rows they belong to, or not at all."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from sqla_oban import Job, JobState
from sqla_oban.errors import ObanError
from sqla_oban.settings import StagerSettings
from sqla_oban.telemetry.events import JobFinished, JobsClaimed, ListenerUp
from tests.shop import Base, Order, noop
from tests.support import Recorder, both_drivers, enqueue, eventually

BY_WAKE_UP_ONLY = StagerSettings(interval=600, deaf_interval=600)

Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture(autouse=True)
async def orders(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)


@pytest.fixture(params=["psycopg", "psycopg2"])
def sync_url(request: pytest.FixtureRequest, database_url: URL) -> URL:
    return database_url.set(drivername=f"postgresql+{request.param}")


async def stored(engine: AsyncEngine) -> tuple[int, int]:
    """How many orders and jobs there are."""
    async with AsyncSession(engine) as session:
        orders = await session.scalar(select(func.count()).select_from(Order))
        jobs = await session.scalar(select(func.count()).select_from(Job))
    return orders or 0, jobs or 0


@both_drivers
async def test_an_order_and_its_job_commit_together(engine: AsyncEngine, sessions: Sessions) -> None:
    async with sessions.begin() as session:
        new = noop.new()
        session.add_all([Order(item="a book"), new])
        await session.flush()
        assert new.id is not None
        assert new.state is JobState.AVAILABLE
        assert await stored(engine) == (0, 0), "nothing is visible before the commit"
    assert await stored(engine) == (1, 1)


@both_drivers
async def test_an_order_and_its_job_roll_back_together(engine: AsyncEngine, sessions: Sessions) -> None:
    async with sessions() as session:
        session.add_all([Order(item="a book"), noop.new()])
        await session.flush()
        await session.rollback()
    assert await stored(engine) == (0, 0)


@both_drivers
async def test_a_savepoint_takes_its_jobs_with_it(engine: AsyncEngine, sessions: Sessions) -> None:
    async with sessions.begin() as session:
        session.add_all([Order(item="kept"), noop.new()])
        with pytest.raises(RuntimeError):
            async with session.begin_nested():
                session.add_all([Order(item="dropped"), noop.new()])
                await session.flush()
                raise RuntimeError
        async with session.begin_nested():
            session.add_all([Order(item="kept too"), noop.new()])
    assert await stored(engine) == (2, 2)


async def test_of_two_racing_sessions_one_leaves_an_order_and_a_job_and_the_other_nothing(
    engine: AsyncEngine, sessions: Sessions
) -> None:
    async def place() -> None:
        async with sessions.begin() as session:
            session.add_all([Order(item="the last one"), noop.new()])

    results = await asyncio.gather(place(), place(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["IntegrityError", "NoneType"]
    assert await stored(engine) == (1, 1)


async def test_a_sync_session_commits_and_rolls_back_the_same(engine: AsyncEngine, sync_url: URL) -> None:
    sync_engine = create_engine(sync_url)
    with Session(sync_engine) as session, session.begin():
        session.add_all([Order(item="kept"), noop.new()])
        with pytest.raises(RuntimeError), session.begin_nested():
            session.add_all([Order(item="dropped"), noop.new()])
            session.flush()
            raise RuntimeError
    with Session(sync_engine) as session:
        session.add_all([Order(item="dropped"), noop.new()])
        session.flush()
        session.rollback()
    with pytest.raises(IntegrityError), Session(sync_engine) as session, session.begin():
        session.add_all([noop.new(), Order(item="kept")])
    sync_engine.dispose()
    assert await stored(engine) == (1, 1)


async def test_jobs_enqueued_by_a_sync_session_are_run(
    engine: AsyncEngine, sync_url: URL, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5}, stager=BY_WAKE_UP_ONLY)
    await events.wait_for(ListenerUp)
    sync_engine = create_engine(sync_url)
    with Session(sync_engine, expire_on_commit=False) as session, session.begin():
        session.add(new := noop.new())
    sync_engine.dispose()
    await events.wait_for(JobFinished, id=new.id)


@both_drivers
async def test_nobody_is_woken_before_the_commit_and_somebody_right_after(
    engine: AsyncEngine, sessions: Sessions, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5}, stager=BY_WAKE_UP_ONLY)
    await events.wait_for(ListenerUp)
    async with sessions.begin() as session:
        session.add(new := noop.new())
        await session.flush()
        (probe,) = await enqueue(engine, noop.new())  # what is committed meanwhile is woken for, and runs alone
        await events.wait_for(JobFinished, id=probe)
        assert events.of(JobFinished, id=new.id) == []
    await events.wait_for(JobFinished, id=new.id)
    assert sum(event.count for event in events.of(JobsClaimed)) == 2


async def test_a_commit_that_began_before_the_producer_slept_is_not_missed(
    engine: AsyncEngine, sessions: Sessions, start: Any, events: Recorder
) -> None:
    async with sessions.begin() as session:
        session.add(new := noop.new())
        await session.flush()  # nobody sleeps yet, so nobody will be rung at the commit
        await start(queues={"default": 5}, stager=BY_WAKE_UP_ONLY)
        await events.wait_for(ListenerUp)
        (probe,) = await enqueue(engine, noop.new())
        await events.wait_for(JobFinished, id=probe)
    await events.wait_for(JobFinished, id=new.id)


async def test_raw_sql_and_other_libraries_wake_the_runner_too(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5}, stager=BY_WAKE_UP_ONLY)
    await events.wait_for(ListenerUp)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO oban_jobs (worker) SELECT 'shop.noop' FROM generate_series(1, 30)"))
    await events.wait_for(JobFinished, count=30)


async def test_a_rolled_back_transaction_rings_nobody(engine: AsyncEngine, database_url: URL) -> None:
    async with engine.connect() as listening:
        heard: list[str] = []
        raw = (await listening.get_raw_connection()).driver_connection
        assert raw is not None
        await raw.add_listener("public.oban_insert", lambda *_: heard.append("insert"))
        await listening.execute(text("SELECT pg_advisory_lock_shared(oban_wake_key('default'))"))
        await listening.commit()
        async with AsyncSession(engine) as session:
            session.add(noop.new())
            await session.flush()
            await session.rollback()
        assert heard == []
        await enqueue(engine, noop.new(), noop.new())
        await eventually(lambda: heard == ["insert"], "one notification for two jobs")
        await raw.remove_listener("public.oban_insert", lambda *_: None)
        await listening.invalidate()


async def test_nobody_is_rung_while_nobody_sleeps(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        assert await connection.scalar(text("SELECT oban_ring('default')")) is False


async def test_a_foreign_producer_is_always_rung(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO oban_producers (uuid, node, queue) VALUES (gen_random_uuid(), 'oban.py', 'default')")
        )
        assert await connection.scalar(text("SELECT oban_ring('default')")) is True
        assert await connection.scalar(text("SELECT oban_ring('other')")) is False


@both_drivers
async def test_bad_input_is_refused_at_the_call_and_leaves_the_transaction_usable(
    engine: AsyncEngine, sessions: Sessions
) -> None:
    async with sessions.begin() as session:
        session.add(Order(item="a book"))
        await session.flush()
        for mistake in (
            lambda: Job(worker=""),
            lambda: Job(worker="w", queue="q" * 128),
            lambda: Job(worker="w", args={"nan": float("nan")}),
            lambda: noop.with_options(queue=" "),
            lambda: noop.with_options(meta={"nul": "\x00"}),
        ):
            with pytest.raises(ObanError):
                mistake()
        session.add(noop.new())
    assert await stored(engine) == (1, 1)


async def test_a_job_that_was_rolled_back_can_be_added_again(engine: AsyncEngine, sessions: Sessions) -> None:
    new = noop.with_options(schedule_in=60).new()
    async with sessions() as session:
        session.add(new)
        await session.flush()
        await session.rollback()
        session.add(new)
        await session.commit()
    assert await stored(engine) == (0, 1)
    assert new.state is JobState.SCHEDULED


async def test_two_phase_transactions_work_with_the_wake_up_silenced(engine: AsyncEngine, sync_url: URL) -> None:
    async with engine.connect() as sleeper:
        await sleeper.execute(text("SELECT pg_advisory_lock_shared(oban_wake_key('default'))"))
        sync_engine = create_engine(sync_url)
        with Session(sync_engine, twophase=True) as session:
            session.execute(text("SET LOCAL sqla_oban.notify = 'off'"))
            session.add_all([Order(item="a book"), noop.new()])
            session.commit()
        sync_engine.dispose()
        await sleeper.invalidate()
    assert await stored(engine) == (1, 1)


async def test_a_role_with_the_documented_grants_can_enqueue(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("CREATE ROLE enqueuer"))
        await connection.execute(text("GRANT INSERT, SELECT ON oban_jobs TO enqueuer"))
        await connection.execute(text("GRANT SELECT ON oban_producers TO enqueuer"))
        await connection.execute(text("SET ROLE enqueuer"))
        async with AsyncSession(connection) as session:
            session.add(new := noop.new())
            await session.flush()
            assert new.id is not None
        await connection.rollback()
