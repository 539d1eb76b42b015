from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from sqla_oban import Job
from tests.support import both_drivers

Sessions = async_sessionmaker[AsyncSession]
TOKYO = timezone(timedelta(hours=9))
MOMENT = datetime(2030, 5, 1, 3, 0, 0, 123456, tzinfo=TOKYO)


@both_drivers
async def test_a_moment_is_stored_as_utc_and_comes_back_aware(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        session.add(Job(worker="w", scheduled_at=MOMENT))
    async with sessions() as session:
        assert await session.scalar(text("SELECT scheduled_at::text FROM oban_jobs")) == "2030-04-30 18:00:00.123456"
        found = await session.scalar(select(Job.scheduled_at))

    assert found == MOMENT
    assert found is not None
    assert found.tzinfo is UTC


@both_drivers
async def test_the_time_zone_of_the_session_makes_no_difference(sessions: Sessions) -> None:
    async with sessions() as session:
        await session.execute(text("SET LOCAL TIME ZONE 'Asia/Tokyo'"))
        session.add(Job(worker="w", scheduled_at=MOMENT))
        await session.flush()
        session.expire_all()
        assert await session.scalar(select(Job.scheduled_at).where(Job.scheduled_at == MOMENT)) == MOMENT
        assert await session.scalar(text("SELECT inserted_at = timezone('UTC', now()) FROM oban_jobs")) is True


@both_drivers
async def test_a_naive_moment_is_refused_before_anything_is_sent(sessions: Sessions) -> None:
    async with sessions() as session:
        before = await session.scalar(text("SELECT txid_current()"))
        with pytest.raises((StatementError, ValueError), match="must have a time zone, got the naive"):
            await session.execute(select(Job).where(Job.scheduled_at < datetime(2030, 1, 1)))  # noqa: DTZ001
        assert await session.scalar(text("SELECT txid_current()")) == before  # not even the transaction was lost


async def test_a_moment_that_never_came_is_none(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        session.add(Job(worker="w"))
    async with sessions() as session:
        assert (await session.execute(select(Job.attempted_at, Job.completed_at))).one() == (None, None)
