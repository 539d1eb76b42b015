"""Racing transactions: the second waits for the first, or for as long as it was told to."""

import asyncio
import random
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from sqla_oban import Job, Unique, insert_all
from sqla_oban.errors import UniqueTimeout
from tests.enqueue.conftest import Run, every_session
from tests.support import both_drivers, eventually, jobs

BY_DEFAULT = Unique()


def made(number: int = 1, unique: Unique = BY_DEFAULT) -> Job:
    return Job(worker="w", args={"n": number}, unique=unique)


async def is_waiting(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(await connection.scalar(text(waiting)))


@both_drivers
@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_the_second_waits_and_then_sees_what_became_of_the_first(engine: AsyncEngine, ending: str) -> None:
    async with (
        AsyncSession(engine, expire_on_commit=False) as first,
        AsyncSession(engine, expire_on_commit=False) as second,
    ):
        first.add(one := made())
        await first.flush()
        second.add(other := made())
        waiting = asyncio.create_task(second.flush())
        await eventually(lambda: is_waiting(engine), "the second waits")
        await getattr(first, ending)()
        await waiting
        await second.commit()
        assert other.conflict == (ending == "commit")
        assert (other.id == one.id) == (ending == "commit")
    assert len(await jobs(engine)) == 1


@both_drivers
async def test_of_many_sessions_with_the_same_jobs_in_any_order_each_job_is_inserted_once(engine: AsyncEngine) -> None:
    async def enqueue(at: int) -> list[Job]:
        some = [made(number) for number in random.sample(range(20), 20)]
        async with AsyncSession(engine, expire_on_commit=False) as session:
            if at % 2:
                session.add_all(some)
            else:
                await insert_all(session, some)
            await session.commit()
        return some

    found = [one for some in await asyncio.gather(*(enqueue(at) for at in range(12))) for one in some]
    assert sum(not one.conflict for one in found) == 20
    assert len({(one.id, one.args["n"]) for one in found}) == 20
    assert {one.id: one.args["n"] for one in await jobs(engine)} == {one.id: one.args["n"] for one in found}


@every_session
async def test_a_wait_that_is_too_long_leaves_the_transaction_usable(run: Run[Any], engine: AsyncEngine) -> None:
    def check(session: Session) -> None:
        session.execute(text("SET LOCAL lock_timeout = '7s'"))
        session.add(Job(worker="kept"))
        session.flush()
        session.add(one := made(unique=Unique(lock_timeout=0.05)))
        with pytest.raises(UniqueTimeout, match="another transaction is enqueueing the same unique job"):
            session.flush()
        session.expunge(one)
        with pytest.raises(UniqueTimeout):
            insert_all(session, [one])
        session.add(made(2, Unique(lock_timeout=0.05)))
        session.flush()
        assert session.scalar(text("SELECT current_setting('lock_timeout')")) == "7s"
        session.commit()

    async with AsyncSession(engine) as first:
        first.add(made())
        await first.flush()
        await run(check)
        await first.rollback()
    assert [job.worker for job in await jobs(engine)] == ["kept", "w"]


async def test_without_such_a_limit_postgresqls_own_counts(run: Run[Any], engine: AsyncEngine) -> None:
    def check(session: Session) -> None:
        session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        session.add(made())
        with pytest.raises(DBAPIError, match="lock timeout"):
            session.flush()
        session.rollback()

    async with AsyncSession(engine) as first:
        first.add(made())
        await first.flush()
        await run(check)


async def test_duplicates_of_what_is_committed_wait_for_nobody(run: Run[Any], engine: AsyncEngine) -> None:
    """Not even for a transaction that has locked the job's row, or another job of the same key's lock."""

    def check(session: Session) -> None:
        session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        session.add(again := made())
        session.flush()
        assert again.conflict

    async with AsyncSession(engine) as first:
        first.add(made())
        await first.commit()
        await first.execute(select(Job).with_for_update())
        await run(check)


async def test_an_open_transaction_that_enqueues_holds_up_no_claim(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(made())
        await session.commit()
        session.add_all([made(), made(2)])
        await session.flush()
        async with AsyncSession(engine) as worker:
            free = select(func.count()).select_from(select(Job.id).with_for_update(skip_locked=True).subquery())
            assert await worker.scalar(free) == 1


async def test_under_repeatable_read_what_is_too_new_to_be_seen_is_a_failure_to_be_tried_again(
    engine: AsyncEngine,
) -> None:
    isolated = engine.execution_options(isolation_level="REPEATABLE READ")
    async with AsyncSession(engine) as first, AsyncSession(isolated) as second:
        await second.execute(text("SELECT count(*) FROM oban_jobs"))
        first.add(made())
        await first.commit()
        second.add(made())
        with pytest.raises(DBAPIError, match="oban_jobs_unique_key_index"):
            await second.flush()
        await second.rollback()
        second.add(again := made())
        await second.commit()
        assert again.conflict
