"""Waiting for the end of jobs, from other nodes and from none."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sqla_oban import Cancel, Job, Record, Snooze, SqlaOban, Unique, current_job, insert_all, job
from sqla_oban.control.selection import EVERYWHERE
from sqla_oban.engine import waiting_room
from sqla_oban.engine.relay import expect
from sqla_oban.errors import (
    InvalidArguments,
    InvalidJob,
    InvalidSelection,
    JobCancelled,
    JobDeleted,
    JobDiscarded,
    JobNotCompleted,
    JobNotFound,
    WaitTimeout,
)
from sqla_oban.settings import StagerSettings
from sqla_oban.telemetry.events import ListenerUp
from tests.queries.table import Table
from tests.support import PATIENCE, Recorder, both_drivers, enqueue, eventually, fast_settings, jobs

SELDOM = StagerSettings(interval=10_000.0)
"""Whoever hears looks when he is told, or not while a test lasts."""


@job(name="relay.double")
async def double(number: Any) -> Record:
    return Record(number * 2)


@job(name="relay.plain")
async def plain() -> int:
    return 7


@job(name="relay.in_the_end", max_attempts=3, backoff=lambda _: 0)
async def in_the_end() -> Any:
    if current_job().attempt == 1:
        raise RuntimeError("not yet")
    return Record("in the end")


@job(name="relay.never", max_attempts=1)
async def never() -> None:
    raise RuntimeError("no such order")


@job(name="relay.refuse")
async def refuse() -> Cancel:
    return Cancel("the order was refunded")


@job(name="relay.snooze")
async def snooze() -> Snooze:
    return Snooze(3600)


@job(name="relay.same", unique=Unique(period=None, states="all"))
async def same(number: int) -> Record:
    return Record(number)


@pytest.fixture
async def client(engine: AsyncEngine) -> AsyncIterator[SqlaOban]:
    """Runs nothing, and is told: it does not look by itself."""
    async with SqlaOban(engine, stager=SELDOM) as oban:
        yield oban


async def listening(events: Recorder, oban: SqlaOban) -> None:
    await events.wait_for(ListenerUp, node=oban.node)


async def marked(table: Table, count: int = 1) -> None:
    async def are_marked() -> bool:
        return bool(await table.scalar("SELECT count(*) FROM oban_jobs WHERE awaited_until IS NOT NULL") == count)

    await eventually(are_marked, "jobs that are waited for")


async def connected(table: Table, count: int) -> None:
    """PostgreSQL lists a connection that was closed for a moment more."""
    listed = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sqla_oban relay' "
        "AND datname = current_database()"
    )

    async def are() -> bool:
        return bool(await table.scalar(listed) == count)

    await eventually(are, f"{count} connections")


@both_drivers
async def test_a_client_enqueues_a_job_and_waits_for_its_result(client: SqlaOban, start: Any, table: Table) -> None:
    await start(queues={"default": 5})
    assert await client.relay(double.new(21)) == 42
    assert await client.relay(double.new("x" * 1_000_000), timeout=timedelta(minutes=1)) == "x" * 2_000_000
    await connected(table, 1)


async def test_a_runner_waits_in_the_same_way(start: Any) -> None:
    oban = await start(queues={"default": 5}, stager=SELDOM)
    assert await oban.relay(double.new([1])) == [1, 1]


async def test_what_a_worker_returns_plainly_is_not_kept(client: SqlaOban, start: Any) -> None:
    await start(queues={"default": 5})
    assert await client.relay(plain.new()) is None


async def test_it_waits_for_the_last_attempt(client: SqlaOban, start: Any) -> None:
    await start(queues={"default": 5})
    assert await client.relay(in_the_end.new()) == "in the end"


async def test_a_failure_is_told_with_its_last_error(client: SqlaOban, start: Any) -> None:
    await start(queues={"default": 5})
    with pytest.raises(JobDiscarded, match=r"^job 1 was discarded: RuntimeError: no such order$") as caught:
        await client.relay(never.new())
    assert caught.value.id == 1
    assert "Traceback" in str(caught.value.error)
    assert isinstance(caught.value, JobNotCompleted)


async def test_a_cancellation_is_told_with_its_reason(client: SqlaOban, start: Any) -> None:
    await start(queues={"default": 5})
    with pytest.raises(JobCancelled, match=r"^job 1 was cancelled: the order was refunded$"):
        await client.relay(refuse.new())


async def test_who_is_waited_for_gets_his_turn_in_his_chain(engine: AsyncEngine, table: Table) -> None:
    """To mark a job locks its row, and a release passes over what is locked: it would come back half a minute later."""
    chained = double.with_options(chain="number")
    first, second = await enqueue(engine, chained.new(1), chained.new(1))
    async with AsyncSession(engine) as session:
        await session.run_sync(expect, second, None, EVERYWHERE)
        ending = asyncio.create_task(end(engine, first))
        await eventually(lambda: ending.done() or is_blocked(table), "the end of the first to wait")
        await session.commit()
    await ending
    assert [job.state for job in await jobs(engine)] == ["completed", "available"]


async def test_who_is_to_wait_does_not_wait_for_a_transaction_that_is_open(engine: AsyncEngine) -> None:
    """One that has enqueued into the chain holds the job in turn; `timeout` counts from when the mark is there."""
    chained = double.with_options(chain="number")
    _, second = await enqueue(engine, chained.new(1), chained.new(1))
    async with AsyncSession(engine) as enqueuing, AsyncSession(engine) as waiting:
        enqueuing.add(chained.new(1))
        await enqueuing.flush()
        await waiting.execute(text("SET lock_timeout = '3s'"))
        assert await waiting.run_sync(expect, second, None, EVERYWHERE) == second


async def end(engine: AsyncEngine, id_: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE oban_jobs SET state = 'completed' WHERE id = {id_}"))


async def is_blocked(table: Table) -> bool:
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await table.scalar(blocked))


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE oban_jobs SET state = 'cancelled', cancelled_at = now()", JobCancelled),
        ('UPDATE oban_jobs SET state = \'discarded\', errors = \'[{"error": "ours"}, {"error": 7}]\'', JobDiscarded),
        ("DELETE FROM oban_jobs", JobDeleted),
    ],
)
async def test_whoever_ends_a_job_is_heard(
    statement: str, error: type[Exception], client: SqlaOban, events: Recorder, table: Table
) -> None:
    """As another library does it, or somebody by hand."""
    waiting = asyncio.create_task(client.relay(double.new(1), timeout=PATIENCE))
    await listening(events, client)
    await marked(table)
    await table.scalar(f"{statement} WHERE id = 1 RETURNING id")
    with pytest.raises(error):
        await waiting


async def test_a_job_that_does_not_end_in_time_goes_on(client: SqlaOban, start: Any, table: Table) -> None:
    with pytest.raises(WaitTimeout, match=r"^job 1 did not end within 0.01 s; it goes on$"):
        await client.relay(double.new(4), timeout=0.01)
    await start(queues={"default": 5})
    assert await client.wait(1) == 8


async def test_a_job_that_is_stored_is_waited_for_and_found_when_it_has_ended(
    client: SqlaOban, engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    first, second = double.new(1), double.new(2)
    await enqueue(engine, first, second)
    waiting = [asyncio.create_task(client.wait(one, timeout=None)) for one in (first, second.id, first.id)]
    await listening(events, client)
    await marked(table, 2)
    await start(queues={"default": 5})
    assert await asyncio.gather(*waiting) == [2, 4, 2]
    assert await client.wait(first) == 2


async def test_who_waits_for_a_job_does_not_keep_it_from_being_claimed(
    client: SqlaOban, engine: AsyncEngine, start: Any, table: Table
) -> None:
    """A claim passes over a row that is being marked, so its queue is rung for."""
    await start(queues={"default": 1}, stager=StagerSettings(interval=5.0))
    for number in range(20):
        [job_id] = await enqueue(engine, double.new(number))
        assert await client.wait(job_id, timeout=PATIENCE) == number * 2


async def test_a_unique_job_that_is_there_is_waited_for(client: SqlaOban, start: Any) -> None:
    await start(queues={"default": 5})
    assert await client.relay(same.new(3)) == 3
    again = same.new(3)
    assert await client.relay(again) == 3
    assert (again.conflict, again.id) == (True, 1)
    assert await client.wait(again) == 3


async def test_many_wait_at_once_on_one_connection(client: SqlaOban, start: Any, table: Table) -> None:
    await start(queues={"default": 20})
    results = await asyncio.gather(*[client.relay(double.new(number), timeout=PATIENCE) for number in range(200)])
    assert results == [number * 2 for number in range(200)]
    await connected(table, 1)


async def test_who_is_told_nothing_looks(engine: AsyncEngine, start: Any) -> None:
    """As where notices are silenced for two-phase commits."""
    async with engine.begin() as connection:
        database = await connection.scalar(text("SELECT current_database()"))
        await connection.execute(text(f'ALTER DATABASE "{database}" SET sqla_oban.notify = off'))
    try:
        await start(queues={"default": 5})
        async with SqlaOban(engine, stager=StagerSettings(interval=0.05)) as client:
            assert await client.relay(double.new(1), timeout=PATIENCE) == 2
    finally:
        async with engine.begin() as connection:
            await connection.execute(text(f'ALTER DATABASE "{database}" RESET sqla_oban.notify'))


async def test_a_lost_connection_loses_no_end(client: SqlaOban, events: Recorder, table: Table, start: Any) -> None:
    waiting = asyncio.create_task(client.relay(double.new(5), timeout=PATIENCE))
    await listening(events, client)
    await marked(table)
    await table.scalar(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sqla_oban relay' "
        "AND datname = current_database()"
    )
    await start(queues={"default": 5})
    assert await waiting == 10


async def test_who_is_cancelled_leaves_nothing_waiting(
    client: SqlaOban, events: Recorder, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "LINGER", 0.0)
    waiting = asyncio.create_task(client.relay(double.new(1)))
    await listening(events, client)
    await marked(table)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await connected(table, 0)
    assert len(await jobs(client.engine)) == 1


async def test_a_runner_that_stops_lets_those_go_on_who_wait(
    client: SqlaOban, events: Recorder, table: Table, start: Any
) -> None:
    waiting = asyncio.create_task(client.relay(double.new(1), timeout=PATIENCE))
    await listening(events, client)
    await marked(table)
    await client.stop()
    await start(queues={"default": 5})
    assert await waiting == 2
    assert await client.relay(double.new(3)) == 6


async def test_a_retry_that_comes_before_the_look_is_waited_for_as_well(
    client: SqlaOban, engine: AsyncEngine, events: Recorder, table: Table, start: Any
) -> None:
    [job_id] = await enqueue(engine, never.new())
    await start(queues={"default": 5})
    with pytest.raises(JobDiscarded):
        await client.wait(job_id)
    await client.jobs.retry(job_id)
    with pytest.raises(JobDiscarded):
        await client.wait(job_id)


async def test_a_loop_that_ends_closes_the_connection(engine: AsyncEngine, table: Table, events: Recorder) -> None:
    """A script that never stops its client leaves nothing behind, and may begin anew."""
    own = create_async_engine(engine.url)
    oban = SqlaOban(own, **fast_settings())

    async def ask(nth: int) -> None:
        waiting = asyncio.create_task(oban.relay(double.new(nth)))
        await events.wait_for(ListenerUp, count=nth, node=oban.node)
        waiting.cancel()
        await asyncio.wait([waiting])
        await own.dispose()

    def script() -> None:
        asyncio.run(ask(1))
        asyncio.run(ask(2))

    await asyncio.to_thread(script)
    await connected(table, 0)


@pytest.mark.parametrize("timeout", [0, -1, "1", True])
async def test_a_wrong_timeout_is_refused_and_stores_nothing(timeout: Any, client: SqlaOban) -> None:  # noqa: ASYNC109
    with pytest.raises(InvalidArguments, match="timeout must be"):
        await client.relay(double.new(1), timeout=timeout)
    assert await jobs(client.engine) == []


async def test_what_is_no_such_job_is_refused(client: SqlaOban, engine: AsyncEngine) -> None:
    with pytest.raises(JobNotFound, match="there is no job 7"):
        await client.wait(7)
    with pytest.raises(InvalidSelection):
        await client.wait([1])  # type: ignore[arg-type]
    with pytest.raises(InvalidSelection):
        await client.wait(double.new(1))
    with pytest.raises(InvalidJob):
        await client.relay("no job")  # type: ignore[arg-type]
    one = double.new(1)
    await enqueue(engine, one)
    with pytest.raises(InvalidJob, match="is stored already"):
        await client.relay(one)


async def test_a_mark_that_has_expired_rings_nobody(table: Table, engine: AsyncEngine) -> None:
    heard: list[str] = []
    await table.connection.run_sync(lambda _: None)
    raw = (await table.connection.get_raw_connection()).driver_connection
    assert raw is not None
    await raw.add_listener("public.oban_relay", lambda *notice: heard.append(notice[3]))
    for until in ("NULL", "timezone('UTC', now()) - interval '1 s'", "timezone('UTC', now()) + interval '1 h'"):
        await table.add(awaited_until=until)
    await table.scalar("UPDATE oban_jobs SET state = 'completed' WHERE id > 0 RETURNING id")
    await eventually(lambda: len(heard) == 1)
    assert heard == ['{"job_id": 3}']


async def test_insert_all_says_that_nobody_waits(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        [one] = await insert_all(session, [Job(worker="w")])
        assert one.awaited_until is None
