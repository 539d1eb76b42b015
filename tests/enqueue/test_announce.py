"""What was enqueued is told when it is committed, and what was not is not."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from sqla_oban import Job, telemetry
from sqla_oban.enqueue.announce import KEY
from sqla_oban.process import process_name
from sqla_oban.telemetry.events import JobsEnqueued
from tests.support import Recorder, both_drivers, jobs


@pytest.fixture
def sync_sessions(database_url: URL, engine: AsyncEngine) -> Iterator[sessionmaker[Session]]:
    sync = create_engine(database_url.set(drivername="postgresql+psycopg2"))
    yield sessionmaker(sync)
    sync.dispose()


def told(events: Recorder) -> list[list[str]]:
    """The workers of the jobs, commit by commit."""
    return [[job.worker for job in event.jobs] for event in events.of(JobsEnqueued)]


@both_drivers
@pytest.mark.parametrize("expire_on_commit", [True, False])
async def test_jobs_are_told_at_their_commit_with_what_is_known_of_them(
    engine: AsyncEngine, events: Recorder, expire_on_commit: bool
) -> None:
    async with AsyncSession(engine, expire_on_commit=expire_on_commit) as session:
        session.add(Job(worker="a"))
        await session.flush()
        session.add(Job(worker="b", queue="q"))
        await session.flush()
        assert told(events) == []
        await session.commit()
    (event,) = events.of(JobsEnqueued)
    stored = await jobs(engine)
    assert event.node == process_name()
    assert [tuple(one) for one in event.jobs] == [(one.id, one.queue, one.worker) for one in stored]


async def test_every_commit_tells_its_own(engine: AsyncEngine, events: Recorder) -> None:
    async with AsyncSession(engine) as session:
        for worker in ("a", "b"):
            session.add(Job(worker=worker))
            await session.commit()
        await session.commit()
    assert told(events) == [["a"], ["b"]]


async def test_what_is_rolled_back_is_never_told(engine: AsyncEngine, events: Recorder) -> None:
    async with AsyncSession(engine) as session:
        session.add(Job(worker="lost"))
        await session.flush()
        await session.rollback()
        session.add(Job(worker="kept"))
        await session.commit()
        session.add(Job(worker="closed"))
        await session.flush()
        await session.close()
        session.add(Job(worker="in the same session"))
        await session.commit()
    async with AsyncSession(engine) as session, session.begin():
        session.add(Job(worker="last"))
    assert told(events) == [["kept"], ["in the same session"], ["last"]]


@both_drivers
async def test_savepoints_take_their_jobs_with_them_or_leave_them(engine: AsyncEngine, events: Recorder) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add(Job(worker="outer"))
        async with session.begin_nested():
            session.add(Job(worker="released"))
        savepoint = await session.begin_nested()
        session.add(Job(worker="rolled back"))
        await session.flush()
        await savepoint.rollback()
        assert told(events) == []
    assert told(events) == [["outer", "released"]]


async def test_of_a_flush_of_some_objects_only_those_are_told(engine: AsyncEngine, events: Recorder) -> None:
    def flush(session: Session) -> None:
        session.add_all([first := Job(worker="first"), Job(worker="second")])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of SQLAlchemy 2.1, for `objects`
            session.flush([first])

    async with AsyncSession(engine) as session, session.begin():
        await session.run_sync(flush)
    assert told(events) == [["first", "second"]]


async def test_a_commit_that_fails_tells_nothing(engine: AsyncEngine, events: Recorder) -> None:
    async with AsyncSession(engine) as session:
        session.add(Job(worker="a"))
        await session.flush()
        await session.execute(text("CREATE TEMP TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        await session.execute(text("INSERT INTO late VALUES (1), (1)"))
        with pytest.raises(Exception, match="duplicate key"):
            await session.commit()
    assert told(events) == []


def test_sync_sessions_tell_as_well(sync_sessions: sessionmaker[Session], events: Recorder) -> None:
    with sync_sessions.begin() as session:
        session.add_all(Job(worker=f"w{number}") for number in range(300))
    assert told(events) == [[f"w{number}" for number in range(300)]]


def test_a_two_phase_commit_tells_once(database_url: URL, engine: AsyncEngine, events: Recorder) -> None:
    sync = create_engine(database_url.set(drivername="postgresql+psycopg2"))
    with Session(sync, twophase=True) as session:
        session.execute(text("SET LOCAL sqla_oban.notify = 'off'"))
        session.add(Job(worker="a"))
        session.prepare()
        assert told(events) == []
        session.commit()
    sync.dispose()
    assert told(events) == [["a"]]


async def test_a_guest_in_the_transaction_of_another_has_committed_nothing(
    engine: AsyncEngine, events: Recorder
) -> None:
    """As in a test that is rolled back in the end."""
    async with engine.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
            session.add(Job(worker="a"))
            await session.commit()
        await outer.rollback()
    assert told(events) == []


async def test_while_nobody_listens_nothing_is_collected(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add(Job(worker="a"))
        await session.flush()
        assert KEY not in session.info


async def test_a_handler_that_fails_does_not_fail_the_commit(engine: AsyncEngine) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("no")

    telemetry.attach(fail, JobsEnqueued)
    try:
        async with AsyncSession(engine) as session, session.begin():
            session.add(Job(worker="a"))
    finally:
        telemetry.detach(fail)
    assert len(await jobs(engine)) == 1
