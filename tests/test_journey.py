"""A job's way through the system, as one story; docs/architecture.md tells it with the same steps."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from sqla_oban import Job, JobState, Snooze, current_job, job
from sqla_oban.settings import PrunerSettings
from sqla_oban.telemetry.events import (
    AcksWritten,
    JobFinished,
    JobsClaimed,
    JobsPruned,
    JobsStaged,
    JobStarted,
    ListenerUp,
)
from tests.shop import Base, Order
from tests.support import Recorder, both_drivers, eventually

confirmed: list[int] = []


@job(name="journey.confirm", queue="orders", max_attempts=5, backoff=lambda _: 0.05, tags=["journey"])
async def confirm(order_id: int, *, note: str = "none") -> str:
    """Fails at first, has to wait at second, works at third."""
    if current_job().attempt == 1 and not confirmed:
        confirmed.append(-1)
        raise ConnectionError(f"the shop did not answer for order {order_id}")
    if confirmed == [-1]:
        confirmed.append(-2)
        return Snooze(0.05)  # type: ignore[return-value]
    confirmed.append(order_id)
    return "the value is dropped"


@pytest.fixture
async def orders(engine: AsyncEngine) -> None:
    confirmed.clear()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)


@both_drivers
async def test_the_journey(
    engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession], orders: None, start: Any, events: Recorder
) -> None:
    node = await start(queues={"orders": 5}, pruner=PrunerSettings(interval=0.2))
    await events.wait_for(ListenerUp)

    # 1, 2: made and committed with its order; nobody sees it before
    async with sessions.begin() as session:
        order = Order(item="a book")
        session.add(order)
        await session.flush()
        work = confirm.with_options(priority=2, schedule_in=0.1).new(order.id, note="gift")
        session.add(work)
        await session.flush()
        assert work.state is JobState.SCHEDULED
        assert events.of(JobsStaged) == []

    # 3, 4, 5, 6: its time comes, it is staged, a producer hears of it and claims it
    await events.wait_for(JobsStaged, queues=("orders",))
    await events.wait_for(JobsClaimed, queue="orders", count=1)

    # 7: it runs, fails, is retried, snoozes, and works
    finished = await events.wait_for(JobFinished, id=work.id, count=3)
    assert [event.state for event in finished] == [JobState.RETRYABLE, JobState.SCHEDULED, JobState.COMPLETED]
    assert finished[0].error == f"ConnectionError: the shop did not answer for order {order.id}"
    assert [event.attempt for event in events.of(JobStarted)] == [1, 2, 2]
    assert confirmed == [-1, -2, order.id]

    # 8: how it ended is written, once for each execution, and none came late
    async with sessions() as session:

        async def written() -> bool:
            stored = await session.get_one(Job, work.id, populate_existing=True)
            return stored.state is JobState.COMPLETED

        await eventually(written, "the outcome to be written")
        stored = await session.get_one(Job, work.id)
    assert [late for event in events.of(AcksWritten) for late in event.late] == []
    assert stored.args == {"order_id": order.id, "note": "gift"}
    assert (stored.attempt, stored.priority, stored.tags, stored.meta) == (2, 2, ["journey"], {"snoozed": 1})
    assert [error["attempt"] for error in stored.errors] == [1]
    assert stored.attempted_by[0] == node.node
    assert stored.attempted_at is not None
    assert stored.completed_at is not None
    assert stored.inserted_at <= stored.scheduled_at <= stored.attempted_at <= stored.completed_at

    # 9 is told by tests/faults and tests/maintenance; 10: when it is old it goes
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE oban_jobs SET completed_at = completed_at - interval '2 days'"))
    await events.wait_for(JobsPruned, count=1)
    async with sessions() as session:
        assert await session.get(Job, work.id) is None
