"""The helpers and unique jobs: a duplicate is no job, and so is neither found nor run."""

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Unique
from sqla_oban.testing import Drained, assert_enqueued, drain, inline
from tests.shop import noop


async def test_a_duplicate_is_neither_enqueued_nor_run(engine: AsyncEngine) -> None:
    unique = noop.with_options(unique=True)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add_all([first := unique.new(), twin := unique.new()])
        assert [job.id for job in await assert_enqueued(session, noop, count=1)] == [first.id]
        assert await drain(session) == Drained(completed=1)
        session.add(again := unique.new())
        assert await drain(session) == Drained()
        assert (twin.id, again.id) == (first.id, first.id)


async def test_inline_runs_what_was_inserted(engine: AsyncEngine) -> None:
    unique = noop.with_options(unique=Unique(states="incomplete"))
    async with AsyncSession(engine, expire_on_commit=False) as session:
        with inline():
            session.add_all([first := unique.new(), twin := unique.new()])
            await session.commit()
            await session.refresh(first)
            assert (first.state, twin.conflict) == ("completed", True)
            session.add(again := unique.new())
            await session.commit()
            assert not again.conflict
