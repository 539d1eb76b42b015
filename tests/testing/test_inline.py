import asyncio
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from sqla_oban import Job, JobState, job
from sqla_oban.errors import EndlessJobs
from sqla_oban.testing import inline
from tests.support import both_drivers, enqueue, jobs
from tests.testing.workers import (
    SESSION,
    Refused,
    follow,
    follow_in_thread,
    in_thread,
    note,
    noted,
    refuse,
    refuse_in_thread,
    snooze,
)


@both_drivers
async def test_a_commit_runs_the_jobs_that_were_added(engine: AsyncEngine) -> None:
    with inline():
        async with AsyncSession(engine, expire_on_commit=False) as session:
            session.add_all(new := [note.new(7), in_thread.new(), snooze.new(60)])
            await session.commit()
            assert [one.state for one in new] == [JobState.COMPLETED, JobState.COMPLETED, JobState.SCHEDULED]
    assert [one.state for one in await jobs(engine)] == [one.state for one in new]
    assert new[0].result == 7


@both_drivers
async def test_inside_a_test_s_transaction_likewise(session: AsyncSession) -> None:
    with inline():
        session.add(new := note.new(7))
        await session.commit()
        assert new.state is JobState.COMPLETED


def test_a_sync_session_does_it_too(sync_session: Session) -> None:
    with inline():
        sync_session.add_all(new := [note.new(7), in_thread.new()])
        sync_session.commit()
        assert [one.state for one in new] == [JobState.COMPLETED] * 2
        assert new[0].result == 7


async def test_and_while_a_loop_is_running(sync_session: Session) -> None:
    with inline():
        sync_session.add_all(new := [note.new(7), in_thread.new()])
        sync_session.commit()
        assert [one.state for one in new] == [JobState.COMPLETED] * 2


async def test_a_block_that_commits_at_its_end_does_it_too(engine: AsyncEngine) -> None:
    with inline():
        async with async_sessionmaker(engine, expire_on_commit=False).begin() as session:
            session.add(new := note.new(7))
    assert new.state is JobState.COMPLETED


async def test_a_custom_session_class_does_it_too(engine: AsyncEngine) -> None:
    class Custom(Session): ...

    with inline():
        async with AsyncSession(engine, sync_session_class=Custom, expire_on_commit=False) as session:
            session.add(new := note.new(7))
            await session.commit()
    assert new.state is JobState.COMPLETED


async def test_nothing_runs_before_the_commit_or_after_a_rollback(session: AsyncSession) -> None:
    done = noted()
    with inline():
        session.add(new := note.new(7))
        await session.flush()
        assert new.state is JobState.AVAILABLE
        await session.rollback()
        await session.commit()
        assert done == []
        session.add(note.new(8))
        await session.commit()
    assert done == [8]


async def test_a_savepoint_s_jobs_run_with_the_commit_or_vanish(session: AsyncSession) -> None:
    done = noted()
    with inline():
        async with session.begin_nested():
            session.add(note.new("kept"))
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                session.add(note.new("dropped"))
                await session.flush()
                raise ZeroDivisionError
        assert done == []
        await session.commit()
    assert done == ["kept"]


async def test_a_job_runs_once_whenever_it_is_due_and_wherever_it_waits(session: AsyncSession) -> None:
    done = noted()
    with inline():
        session.add(note.with_options(schedule_in=3600, queue="other").new(1))
        await session.commit()
        await session.commit()
        session.add(again := snooze.new(0))
        await session.commit()
        await session.commit()
    assert done == [1]
    assert (again.state, again.meta["snoozed"]) == (JobState.SCHEDULED, 1)


async def test_other_jobs_are_left_alone(engine: AsyncEngine) -> None:
    await enqueue(engine, first := note.new("another's"))
    done = noted()
    with inline():
        async with AsyncSession(engine) as session:
            session.add(note.new("its own"))
            await session.commit()
    assert done == ["its own"]
    assert [one.state for one in await jobs(engine) if one.id == first.id] == [JobState.AVAILABLE]


async def test_jobs_that_are_made_with_a_final_state_do_not_run(session: AsyncSession) -> None:
    done = noted()
    with inline():
        session.add(Job(worker="testing.note", state=JobState.COMPLETED))
        await session.commit()
    assert done == []


@both_drivers
async def test_what_a_worker_raises_is_raised_by_the_commit(engine: AsyncEngine) -> None:
    with inline():
        with pytest.raises(Refused):
            async with async_sessionmaker(engine).begin() as session:
                session.add(refuse.new())
        async with AsyncSession(engine, expire_on_commit=False) as session:
            session.add(new := refuse.new())
            with pytest.raises(Refused):
                await session.commit()
            assert new.state is JobState.RETRYABLE
            await session.rollback()
    assert await jobs(engine) == []


def test_and_by_that_of_a_sync_session(sync_session: Session) -> None:
    with inline():
        for worker in (refuse, refuse_in_thread):
            sync_session.add(worker.new())
            with pytest.raises(Refused):
                sync_session.commit()
            sync_session.rollback()
        sync_session.add(new := note.new(1))
        sync_session.commit()
        assert new.state is JobState.COMPLETED


def shared(connection: AsyncConnection) -> Callable[[], AsyncSession]:
    return lambda: AsyncSession(connection, join_transaction_mode="create_savepoint")


@both_drivers
async def test_jobs_that_jobs_enqueue_run_inside_them(session: AsyncSession, connection: AsyncConnection) -> None:
    SESSION.set(shared(connection))
    done = noted()
    with inline():
        session.add(follow.new(3))
        await session.commit()
    assert done == [3, 2, 1, 0]


def test_those_of_threads_too(sync_session: Session, sync_connection: Connection) -> None:
    SESSION.set(lambda: Session(sync_connection, join_transaction_mode="create_savepoint"))
    done = noted()
    with inline():
        sync_session.add(follow_in_thread.new(3))
        sync_session.commit()
    assert done == [3, 2, 1, 0]


async def test_and_those_that_commit_for_real(engine: AsyncEngine) -> None:
    SESSION.set(lambda: AsyncSession(engine))
    with inline():
        async with AsyncSession(engine) as session:
            session.add(follow.new(3))
            await session.commit()
    assert [one.state for one in await jobs(engine)] == [JobState.COMPLETED] * 4


async def test_jobs_without_end_are_an_error(session: AsyncSession, connection: AsyncConnection) -> None:
    SESSION.set(shared(connection))
    with inline():
        session.add(follow.new(1_000))
        with pytest.raises(EndlessJobs, match="drain"):
            await session.commit()


@pytest.mark.parametrize("flush", [False, True])
async def test_a_worker_may_use_the_session_that_is_committing(flush: bool, session: AsyncSession) -> None:
    done = noted()

    @job(name="testing.add_more_to_the_session")
    async def add_more() -> None:
        session.add(note.new("more"))
        if flush:
            await session.flush()

    with inline():
        session.add(add_more.new())
        await session.commit()
    assert done == ["more"]
    assert not session.new


async def test_nothing_runs_inline_outside_of_it(session: AsyncSession) -> None:
    with inline(), inline():
        pass
    session.add(new := note.new(1))
    await session.commit()
    assert new.state is JobState.AVAILABLE


async def test_what_was_added_before_is_not_run_by_it(session: AsyncSession) -> None:
    session.add(before := note.new(1))
    await session.commit()
    with inline():
        session.add(new := note.new(2))
        await session.commit()
    assert (before.state, new.state) == (JobState.AVAILABLE, JobState.COMPLETED)


async def test_it_holds_for_other_threads_that_know_nothing_of_it(engine: AsyncEngine) -> None:
    """As for an application that a test client runs in a thread of its own."""
    sync_engine = create_engine(engine.url.set(drivername="postgresql+psycopg"))

    def serve() -> None:
        with sessionmaker(sync_engine).begin() as session:
            session.add(note.new(1))

    with inline():
        thread = threading.Thread(target=serve)
        thread.start()
        await asyncio.to_thread(thread.join)
    sync_engine.dispose()
    assert [one.state for one in await jobs(engine)] == [JobState.COMPLETED]
