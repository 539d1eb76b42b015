"""In whose transaction steering happens, and what becomes of what a session of the caller's holds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session

from sqla_oban import Job, SqlaOban
from sqla_oban.errors import InvalidArguments
from sqla_oban.queries.queues import SERIALISE
from tests.support import enqueue, eventually, jobs

WAITING = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


@pytest.fixture
def oban(engine: AsyncEngine) -> SqlaOban:
    return SqlaOban(engine)


@pytest.fixture(params=["AUTOCOMMIT", "REPEATABLE READ", "SERIALIZABLE"])
async def isolated(engine: AsyncEngine, request: pytest.FixtureRequest) -> AsyncIterator[SqlaOban]:
    """On an engine of an application that wants another isolation everywhere."""
    other = create_async_engine(engine.url, isolation_level=request.param)
    yield SqlaOban(other)
    await other.dispose()


async def test_the_last_word_counts_whatever_the_isolation_of_the_engine(
    isolated: SqlaOban, engine: AsyncEngine
) -> None:
    """A command for every node takes back one for a single node that was committed while it waited for its turn."""
    async with engine.connect() as first, engine.connect() as observer:
        await first.execute(SERIALISE, {"of_runners": "Oban"})
        pausing = asyncio.create_task(isolated.queues.pause("mailers"))

        async def is_waiting() -> bool:
            return bool(await observer.scalar(WAITING))

        await eventually(is_waiting, "the command to wait for its turn")
        await first.execute(
            text("INSERT INTO oban_queues (name, queue, node, paused) VALUES ('Oban', 'mailers', 'n', false)")
        )
        await first.commit()
        await pausing
        await observer.rollback()
        said = (await observer.execute(text("SELECT node, paused FROM oban_queues"))).all()
    assert said == [("", True)]


async def test_an_update_holds_its_lock_whatever_the_isolation_of_the_engine(
    isolated: SqlaOban, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can claim the job between the look at its state and the change."""
    (job_id,) = await enqueue(engine, Job(worker="w"))
    transactions: list[object] = []
    execute = Session.execute

    def noting(self: Session, *args: Any, **options: Any) -> Any:
        result = execute(self, *args, **options)
        transactions.append(self.connection().scalar(text("SELECT pg_current_xact_id()::text")))
        return result

    monkeypatch.setattr(Session, "execute", noting)
    await isolated.jobs.update(job_id, priority=3)
    assert len(transactions) > 1
    assert len(set(transactions)) == 1


@pytest.mark.parametrize("mode", ["create_savepoint", "rollback_only"])
async def test_a_session_that_is_bound_to_a_connection_keeps_its_transaction(engine: AsyncEngine, mode: Any) -> None:
    """As in an application's tests, which roll back in the end."""
    async with engine.connect() as connection:
        await connection.begin()
        factory = async_sessionmaker(connection, join_transaction_mode=mode, expire_on_commit=False)
        oban = SqlaOban(engine, session_factory=factory)
        async with factory.begin() as session:
            session.add(Job(worker="w"))
        assert [depth.queue for depth in await oban.queues.depths()] == ["default"]
        assert await connection.scalar(text("SHOW enable_seqscan")) == "on"  # only that question was bounded
        assert (await oban.jobs.update([1, 2], priority=4))[0].priority == 4
        await connection.rollback()
    assert await jobs(engine) == []


@pytest.mark.parametrize("autoflush", [True, False])
async def test_what_the_session_has_not_flushed_yet_is_not_lost(
    oban: SqlaOban, engine: AsyncEngine, autoflush: bool
) -> None:
    (job_id,) = await enqueue(engine, Job(worker="w"))
    async with AsyncSession(engine, autoflush=autoflush) as session, session.begin():
        job = await session.get_one(Job, job_id)
        job.priority = 7
        assert await oban.jobs.get(job_id, session=session) is job
        assert job.priority == 7
        job.tags = ["kept"]
        assert await oban.jobs.cancel(job_id, session=session) == 1
        assert (job.priority, job.tags, job.state) == (7, ["kept"], "cancelled")
    (stored,) = await jobs(engine)
    assert (stored.priority, stored.tags, stored.state) == (7, ["kept"], "cancelled")


async def test_a_scoped_session_is_a_session(oban: SqlaOban, engine: AsyncEngine) -> None:
    scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
    (job_id,) = await enqueue(engine, Job(worker="w"))
    assert await oban.jobs.cancel(job_id, session=cast(AsyncSession, scoped)) == 1
    await scoped.rollback()
    await scoped.remove()
    assert [job.state.value for job in await jobs(engine)] == ["available"]


async def test_anything_else_is_refused(oban: SqlaOban) -> None:
    with pytest.raises(InvalidArguments, match="session must be an AsyncSession, got"):
        await oban.jobs.cancel(1, session=cast(AsyncSession, Session()))
