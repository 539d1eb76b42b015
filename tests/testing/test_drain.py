import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from sqla_oban import Job, JobState, SqlaOban, job
from sqla_oban.errors import EndlessJobs, InvalidArguments, InvalidJob
from sqla_oban.migrations import migrate
from sqla_oban.telemetry.events import JobFinished
from sqla_oban.testing import Drained, drain, turns
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs
from tests.testing.workers import (
    SESSION,
    Refused,
    cancel,
    follow,
    follow_in_thread,
    in_thread,
    leave,
    note,
    noted,
    refuse,
    snooze,
    wait_for_ever,
)


def one_of_each() -> list[Job]:
    return [note.new(1), in_thread.new(2), cancel.new(), snooze.new(60), refuse.new()]


OUTCOMES = [JobState.COMPLETED, JobState.COMPLETED, JobState.CANCELLED, JobState.SCHEDULED, JobState.RETRYABLE]


@both_drivers
async def test_jobs_that_were_added_run_in_the_test_s_own_transaction(session: AsyncSession) -> None:
    session.add_all(new := one_of_each())
    assert await drain(session, safely=True) == Drained(completed=2, cancelled=1, scheduled=1, retryable=1)
    assert [one.state for one in new] == OUTCOMES
    assert new[0].result == 1
    assert "Refused" in new[4].errors[0]["error"]
    assert new[4].attempted_at is not None
    assert new[4].scheduled_at - new[4].attempted_at > timedelta(seconds=600), "its own backoff counts"


def test_a_sync_session_drains_by_a_plain_call(sync_session: Session) -> None:
    sync_session.add_all(new := one_of_each())
    assert drain(sync_session, safely=True) == Drained(completed=2, cancelled=1, scheduled=1, retryable=1)
    assert [one.state for one in new] == OUTCOMES
    assert "Refused" in new[4].errors[0]["error"]


async def test_a_sync_session_drains_while_a_loop_is_running(sync_session: Session) -> None:
    sync_session.add_all([note.new(1), in_thread.new(2)])
    assert drain(sync_session) == Drained(completed=2)
    with pytest.raises(Refused):
        sync_session.add(refuse.new())
        drain(sync_session)


async def test_code_that_runs_in_an_async_session_can_drain_it(session: AsyncSession) -> None:
    session.add(note.new(1))
    assert await session.run_sync(lambda sync: drain(sync)) == Drained(completed=1)


async def test_scoped_sessions_are_sessions(connection: AsyncConnection, sync_connection: Connection) -> None:
    scoped = async_scoped_session(async_sessionmaker(connection), scopefunc=asyncio.current_task)
    scoped.add(note.new(1))
    assert await drain(scoped) == Drained(completed=1)
    await scoped.remove()
    threads = scoped_session(sessionmaker(sync_connection))
    threads.add(note.new(1))
    assert drain(threads) == Drained(completed=1)
    threads.remove()


async def test_a_runner_s_jobs_are_committed_with_their_outcomes(engine: AsyncEngine) -> None:
    await enqueue(engine, *one_of_each())
    assert await drain(SqlaOban(engine), safely=True) == Drained(completed=2, cancelled=1, scheduled=1, retryable=1)
    assert [one.state for one in await jobs(engine)] == OUTCOMES
    await enqueue(engine, note.new(1))
    assert await drain(engine) == Drained(completed=1)


async def test_a_runner_s_schema_counts(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA private_testing"))
        await connection.run_sync(partial(migrate, schema="private_testing"))
    try:
        private = engine.execution_options(schema_translate_map={None: "private_testing"})
        await enqueue(private, note.new(1))
        assert await drain(SqlaOban(engine)) == Drained()
        assert await drain(SqlaOban(engine, schema="private_testing")) == Drained(completed=1)
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("DROP SCHEMA private_testing CASCADE"))


async def test_an_empty_queue_drains_to_nothing_and_other_queues_are_left_alone(session: AsyncSession) -> None:
    assert await drain(session) == Drained()
    session.add(other := note.with_options(queue="other").new())
    assert await drain(session) == Drained()
    assert other.state is JobState.AVAILABLE
    assert await drain(session, "other") == Drained(completed=1)


async def test_jobs_run_in_the_order_of_a_runner(session: AsyncSession) -> None:
    done = noted()
    session.add_all(new := [note.with_options(priority=priority).new(priority) for priority in (2, 0, 1, 0)])
    drained = await drain(session)
    assert done == [0, 0, 1, 2]
    assert drained.ids == tuple(one.id for one in sorted(new, key=lambda one: (one.priority, one.id)))


async def test_what_a_worker_raises_is_raised_after_it_was_written(session: AsyncSession) -> None:
    session.add_all([note.new(1), failing := refuse.new("as it is"), last := note.with_options(priority=5).new(2)])
    with pytest.raises(Refused, match="as it is"):
        await drain(session)
    assert failing.state is JobState.RETRYABLE
    assert last.state is JobState.AVAILABLE
    assert await drain(session) == Drained(completed=1)


async def test_the_last_attempt_discards(session: AsyncSession) -> None:
    session.add(failing := refuse.with_options(max_attempts=2).new())
    assert await drain(session, safely=True) == Drained(retryable=1)
    assert await drain(session, safely=True) == Drained(), "its time has not come"
    assert await drain(session, safely=True, scheduled=True) == Drained(discarded=1)
    assert [error["attempt"] for error in failing.errors] == [1, 2]


async def test_a_job_without_an_attempt_left_is_discarded_and_does_not_run(session: AsyncSession) -> None:
    done = noted()
    session.add(job := note.with_options(max_attempts=1).new())
    job.attempt = 1
    assert await drain(session) == Drained(discarded=1)
    assert job.state is JobState.DISCARDED
    assert done == []


async def test_system_exit_is_raised_even_safely(session: AsyncSession) -> None:
    session.add(leaving := leave.new())
    with pytest.raises(SystemExit):
        await drain(session, safely=True)
    assert leaving.state is JobState.RETRYABLE


async def test_a_job_that_does_not_end_can_be_given_up(session: AsyncSession) -> None:
    done = noted()
    session.add(stuck := wait_for_ever.new())
    draining = asyncio.create_task(drain(session, safely=True))
    await eventually(lambda: done == ["waiting"], "the job to run")
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert stuck.state is JobState.RETRYABLE


async def test_what_is_due_later_runs_when_it_is_asked_for(session: AsyncSession) -> None:
    hours = [1, 3]
    session.add_all(new := [note.with_options(schedule_in=timedelta(hours=number)).new(number) for number in hours])
    assert await drain(session) == Drained()
    assert await drain(session, scheduled=datetime.now(UTC) + timedelta(hours=2)) == Drained(completed=1)
    assert [one.state for one in new] == [JobState.COMPLETED, JobState.SCHEDULED]
    assert await drain(session, scheduled=True) == Drained(completed=1)


async def test_what_was_scheduled_and_is_due_runs_as_after_the_stager(session: AsyncSession) -> None:
    session.add(note.with_options(scheduled_at=datetime.now(UTC) - timedelta(hours=1)).new())
    session.add(note.with_options(schedule_in=0).new())
    assert await drain(session) == Drained(completed=2)


async def test_a_job_that_always_snoozes_runs_once_a_drain(session: AsyncSession) -> None:
    session.add(sleepy := snooze.new(0))
    for times in (1, 2):
        assert await drain(session, scheduled=True) == Drained(scheduled=1)
        assert sleepy.meta["snoozed"] == times


def shared(connection: AsyncConnection) -> Callable[[], AsyncSession]:
    """How an application under test makes its sessions."""
    return lambda: AsyncSession(connection, join_transaction_mode="create_savepoint")


async def test_jobs_that_jobs_enqueue_run_too(session: AsyncSession, connection: AsyncConnection) -> None:
    SESSION.set(shared(connection))
    done = noted()
    session.add(follow.new(2))
    assert await drain(session) == Drained(completed=3)
    assert done == [2, 1, 0]


async def test_or_not(session: AsyncSession, connection: AsyncConnection) -> None:
    SESSION.set(shared(connection))
    session.add_all([follow.new(1), note.with_options(priority=9).new(1)])
    assert await drain(session, recursive=False) == Drained(completed=2)
    assert (await session.scalars(select(Job.args).where(Job.state == JobState.AVAILABLE))).all() == [{"times": 0}]


def test_jobs_of_a_sync_application_run_too(sync_session: Session, sync_connection: Connection) -> None:
    SESSION.set(lambda: Session(sync_connection, join_transaction_mode="create_savepoint"))
    done = noted()
    sync_session.add(follow_in_thread.new(2))
    assert drain(sync_session) == Drained(completed=3)
    assert done == [2, 1, 0]


async def test_the_test_s_own_session_can_be_used_by_its_workers(session: AsyncSession) -> None:
    @job(name="testing.add_to_the_test_s_session")
    async def add(*, commit: bool) -> None:
        session.add(note.new(1))
        if commit:
            await session.commit()

    for commit in (False, True):
        session.add(add.new(commit=commit))
        assert await drain(session) == Drained(completed=2)


async def test_what_a_worker_changes_in_the_test_s_own_session_is_kept(session: AsyncSession) -> None:
    @job(name="testing.tag_myself")
    async def tag_myself() -> None:
        new.tags = ["seen"]

    session.add(new := tag_myself.new())
    with session.no_autoflush:
        assert await drain(session) == Drained(completed=1)
    assert (new.state, new.tags) == (JobState.COMPLETED, ["seen"])
    await session.refresh(new)
    assert new.tags == ["seen"]


async def test_a_limit_is_kept_and_what_is_beyond_stays_as_it_was(session: AsyncSession) -> None:
    session.add_all(new := [note.with_options(schedule_in=60).new() for _ in range(3)])
    assert await drain(session, scheduled=True, limit=2) == Drained(completed=2)
    assert new[2].state is JobState.SCHEDULED
    assert await drain(session, scheduled=True, limit=0) == Drained()


async def test_jobs_without_end_are_an_error(
    session: AsyncSession, connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MOST", 5)
    SESSION.set(shared(connection))
    session.add(follow.new(1_000_000))
    with pytest.raises(EndlessJobs, match="limit"):
        await drain(session)
    assert await drain(session, limit=6) == Drained(completed=6)


async def test_as_many_as_the_bound_are_none(session: AsyncSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST", 2)
    session.add_all([note.new(), note.new()])
    assert await drain(session) == Drained(completed=2)


async def test_a_job_that_deletes_itself_is_not_counted(session: AsyncSession) -> None:
    @job(name="testing.delete_myself")
    async def vanish() -> None:
        await session.execute(text("DELETE FROM oban_jobs"))

    session.add(vanish.new())
    assert await drain(session) == Drained()


async def test_a_worker_that_breaks_the_transaction_is_what_is_raised(engine: AsyncEngine) -> None:
    @job(name="testing.break_the_transaction")
    async def break_it() -> None:
        await session.execute(text("SELECT 1/0"))

    async with AsyncSession(engine) as session:
        session.add(break_it.new())
        with pytest.raises(DBAPIError, match=r"^[^\[]*division by zero"):
            await drain(session)


async def test_others_jobs_that_are_taken_are_passed_over(engine: AsyncEngine, session: AsyncSession) -> None:
    await enqueue(engine, note.new(1), note.new(2))
    async with engine.begin() as other:
        await other.execute(text("SELECT FROM oban_jobs WHERE id = 1 FOR UPDATE"))
        assert (await drain(session)).ids == (2,)
    async with engine.begin() as cleaning:
        await cleaning.execute(text("DELETE FROM oban_jobs WHERE id = 1"))
    await session.rollback()
    async with engine.begin() as cleaning:
        await cleaning.execute(text("DELETE FROM oban_jobs"))


async def test_events_are_told_as_by_a_runner(session: AsyncSession, events: Recorder) -> None:
    session.add_all([note.new(), refuse.new()])
    await drain(session, safely=True)
    assert [event.state for event in events.of(JobFinished, node="testing")] == [OUTCOMES[0], OUTCOMES[4]]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda session: drain(session.bind), InvalidArguments),
        (lambda session: drain(cast(Any, "postgresql://")), InvalidArguments),
        (lambda session: drain(session, ""), InvalidJob),
        (lambda session: drain(session, limit=-1), InvalidJob),
        (lambda session: drain(session, scheduled=datetime(2026, 1, 1)), InvalidJob),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_call(
    call: Callable[[Any], Any], error: type[Exception], sync_session: Session
) -> None:
    with pytest.raises(error):
        call(sync_session)
