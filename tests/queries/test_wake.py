import json
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.queries.wake import NOTIFY, WRITERS, drop, end_hush, hold, hush
from tests.queries.table import Table, ago
from tests.support import eventually

HOLD, DROP = hold(None), drop(None)
HUSH, END_HUSH = hush(None), end_hush(None)


@pytest.fixture
async def sleeper(engine: AsyncEngine) -> AsyncIterator[Table]:
    """Another session, which may hold keys."""
    async with engine.connect() as connection:
        yield Table(await connection.execution_options(isolation_level="AUTOCOMMIT"))
        await connection.execute(text("SELECT pg_advisory_unlock_all()"))


@pytest.fixture
async def hushing(engine: AsyncEngine) -> AsyncIterator[Table]:
    """A third session, because one's own locks are in nobody's way."""
    async with engine.connect() as connection:
        yield Table(await connection.execution_options(isolation_level="AUTOCOMMIT"))
        if not connection.invalidated:
            await connection.execute(text("SELECT pg_advisory_unlock_all()"))


async def rings(table: Table, queue: str = "default") -> bool:
    return bool(await table.scalar(f"SELECT oban_ring('{queue}')"))


async def test_a_writer_rings_only_while_somebody_sleeps(table: Table, sleeper: Table) -> None:
    before = await rings(table)
    await sleeper.run(HOLD, queue="default")
    during, of_another_queue = await rings(table), await rings(table, "other")
    await sleeper.run(DROP, queue="default")
    assert (before, during, of_another_queue, await rings(table)) == (False, True, False, False)


async def test_two_that_sleep_on_one_queue_hold_the_key_together(table: Table, sleeper: Table) -> None:
    await sleeper.run(HOLD, queue="default")
    await table.run(HOLD, queue="default")
    await sleeper.run(DROP, queue="default")
    assert await rings(sleeper)
    await table.run(DROP, queue="default")


async def test_nobody_is_rung_while_somebody_hushes(table: Table, sleeper: Table, hushing: Table) -> None:
    for queue in ("default", "other"):
        await sleeper.run(HOLD, queue=queue)
    await hushing.run(HUSH, queue="default")
    during, of_another_queue = await rings(table), await rings(table, "other")
    due_soon = await table.scalar("SELECT oban_ring('default', true)")
    await hushing.run(END_HUSH, queue="default")
    assert (during, of_another_queue, due_soon, await rings(table)) == (False, True, False, True)


async def test_one_hushes_at_a_time(table: Table, sleeper: Table) -> None:
    assert await sleeper.run(HUSH, queue="default") == [(True,)]
    assert await table.run(HUSH, queue="default") == [(False,)]
    await sleeper.run(END_HUSH, queue="default")
    assert await table.run(HUSH, queue="default") == [(True,)]
    await table.run(END_HUSH, queue="default")


async def test_the_hush_of_a_killed_session_is_over(table: Table, sleeper: Table, hushing: Table) -> None:
    await sleeper.run(HOLD, queue="default")
    await hushing.run(HUSH, queue="default")
    pid = await hushing.scalar("SELECT pg_backend_pid()")
    assert not await rings(table)
    await table.scalar(f"SELECT pg_terminate_backend({pid}, 10000)")
    assert await rings(table)
    await hushing.connection.invalidate()


async def test_a_foreign_producer_is_rung_while_somebody_hushes(table: Table, sleeper: Table) -> None:
    await table.add_producer(beaten=ago(0), meta="{}")
    await sleeper.run(HUSH, queue="default")
    assert await rings(table)
    await sleeper.run(END_HUSH, queue="default")


async def test_ringing_leaves_no_lock_behind(table: Table, sleeper: Table) -> None:
    for _ in range(3):
        await rings(table)
    await sleeper.run(HOLD, queue="default")
    assert await rings(table)
    await sleeper.run(HUSH, queue="default")
    assert await rings(table, "other") is False
    assert await rings(table) is False
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    assert await table.scalar(locks) == 0


@pytest.mark.parametrize(("meta", "rung"), [("{}", True), ('{"ttl": 15}', False)], ids=["foreign", "ours"])
async def test_a_foreign_producer_holds_no_key_and_is_always_rung(meta: str, rung: bool, table: Table) -> None:
    await table.add_producer(beaten=ago(0), meta=meta)
    assert await rings(table) is rung


async def test_ringing_can_be_silenced(table: Table, sleeper: Table) -> None:
    await sleeper.run(HOLD, queue="default")
    await table.scalar("SELECT set_config('sqla_oban.notify', 'off', false)")
    silenced = await rings(table)
    await table.scalar("SELECT set_config('sqla_oban.notify', '', false)")
    assert (silenced, await rings(table)) == (False, True)


async def test_transactions_that_write_jobs_are_listed_until_they_end(table: Table, engine: AsyncEngine) -> None:
    async def writers(among: list[str] | None = None) -> list[str]:
        return [row[0] for row in await table.run(WRITERS, table="public.oban_jobs", among=among)]

    async def ended() -> bool:
        return await writers() == []

    assert await ended()
    async with engine.connect() as writer:
        await writer.execute(text("INSERT INTO oban_jobs (worker) VALUES ('w')"))
        (writing,) = await writers()
        assert await writers([writing, "9/9"]) == [writing]
        assert await writers(["9/9"]) == []
        await writer.commit()
    await eventually(ended)


async def test_transactions_that_only_read_are_not_listed(table: Table, engine: AsyncEngine) -> None:
    async with engine.connect() as reader:
        await reader.execute(text("SELECT * FROM oban_jobs"))
        assert await table.run(WRITERS, table="oban_jobs", among=None) == []


async def test_ones_own_transaction_is_not_listed(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("INSERT INTO oban_jobs (worker) VALUES ('w')"))
        rows = await connection.execute(WRITERS, {"table": "oban_jobs", "among": None})
        assert rows.all() == []


async def test_a_payload_is_sent_as_it_is(table: Table) -> None:
    assert len(await table.run(NOTIFY, channel='any "channel"', payload='{"queue": "it\'s"}')) == 1


async def test_writers_tell_of_what_is_due_before_the_stagers_look_again(engine: AsyncEngine, table: Table) -> None:
    heard: list[dict[str, object]] = []
    async with engine.connect() as listener:
        raw = (await listener.get_raw_connection()).driver_connection
        assert raw is not None
        if engine.dialect.driver != "asyncpg":
            pytest.skip("what is tested is the trigger, and asyncpg hears it without a statement")
        await raw.add_listener("public.oban_insert", lambda *told: heard.append(json.loads(told[3])))
        for queue in ("late", "soon", "now"):
            await table.run(HOLD, queue=queue)
        async with engine.begin() as writer:
            for queue, state, at in (
                ("late", "scheduled", ago(-60)),
                ("soon", "scheduled", ago(-2)),
                ("now", "available", ago(0)),
            ):
                await Table(writer).add(queue=f"'{queue}'", state=f"'{state}'", scheduled_at=at)
        await eventually(lambda: len(heard) >= 2, "both notices")
    assert heard == [{"queue": "soon", "due_soon": True}, {"queue": "now"}]
