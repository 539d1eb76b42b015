"""What a Job is after a commit, detached, merged, pickled, and in a session that does not flush by itself."""

import pickle
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm.exc import DetachedInstanceError

from sqla_oban import Job, JobState, job


@job(name="object_states.send", queue="mailers")
async def send(user_id: int) -> None: ...


async def count(engine: AsyncEngine) -> int:
    async with AsyncSession(engine) as session:
        return len((await session.scalars(select(Job.id))).all())


async def test_after_a_commit_that_expires_an_async_session_reads_by_a_refresh(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(made := send.new(1))
        await session.commit()
        with pytest.raises(MissingGreenlet):
            _ = made.id
        await session.refresh(made)
        assert (made.id, made.state, made.args) == (1, JobState.AVAILABLE, {"user_id": 1})


async def test_after_a_commit_that_expires_a_sync_session_reads_by_itself(engine: AsyncEngine) -> None:
    def check(session: AsyncSession) -> None:
        one = session.sync_session
        one.add(made := send.new(1))
        one.commit()
        assert (made.id, made.queue) == (1, "mailers")

    async with AsyncSession(engine) as session:
        await session.run_sync(lambda _: check(session))


async def test_without_expiry_everything_stays_readable_also_when_detached(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(made := send.new(1))
        await session.commit()
    assert (made.id, made.state, made.queue, made.attempt) == (1, JobState.AVAILABLE, "mailers", 0)


async def test_a_job_detached_after_it_expired_says_so(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(made := send.new(1))
        await session.commit()
    with pytest.raises(DetachedInstanceError):
        _ = made.state
    assert "Job" in repr(made)  # which asks the database nothing


async def test_without_autoflush_the_commit_enqueues(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, autoflush=False) as session:
        session.add(send.new(1))
        assert (await session.scalars(select(Job))).all() == []
        await session.commit()
    assert await count(engine) == 1


async def test_a_stored_job_that_is_merged_is_the_row_and_takes_the_changes(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(made := send.new(1))
        await session.commit()
    made.priority = 3
    async with AsyncSession(engine, expire_on_commit=False) as session:
        merged = await session.merge(made)
        assert merged is not made
        await session.commit()
    assert (merged.id, merged.priority, await count(engine)) == (made.id, 3, 1)


async def test_a_new_job_that_is_merged_is_enqueued_as_a_copy(engine: AsyncEngine) -> None:
    made = send.with_options(schedule_in=3600, priority=2).new(1)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        merged = await session.merge(made)
        await session.commit()
    assert made.__dict__.get("id") is None
    assert (merged.id, merged.state, merged.priority, merged.args) == (1, JobState.SCHEDULED, 2, {"user_id": 1})
    assert merged.scheduled_at == made.scheduled_at  # the estimate: what is relative belongs to the first one


async def test_a_new_job_survives_pickling_with_its_delay(engine: AsyncEngine) -> None:
    copied: Job = pickle.loads(pickle.dumps(send.with_options(schedule_in=3600).new(1)))
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(copied)
        await session.commit()
        await session.refresh(copied)
    assert copied.schedule_in == timedelta(hours=1)
    assert (copied.state, copied.worker, copied.args) == (JobState.SCHEDULED, "object_states.send", {"user_id": 1})
    assert copied.scheduled_at > datetime.now(UTC) + timedelta(minutes=50)


async def test_a_stored_job_survives_pickling_and_can_be_added_as_what_it_is(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(made := send.new(1))
        await session.commit()
    copied: Job = pickle.loads(pickle.dumps(made))
    assert (copied.id, copied.args, copied.state) == (made.id, made.args, made.state)
    async with AsyncSession(engine) as session:
        session.add(copied)
        copied.priority = 5
        await session.commit()
    assert await count(engine) == 1
