"""The index on unique keys and its triggers: whoever writes, and however a row comes to hold its key."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.ack import ACK, Ack, parameters
from sqla_oban.queries.expressions import JOBS
from sqla_oban.queries.hasten import EVER, hasten, is_due
from sqla_oban.queries.release import release
from sqla_oban.queries.rescue import rescue
from sqla_oban.queries.retry import retry
from sqla_oban.queries.stage import stage
from sqla_oban.queries.unique import give_up, holders, reserve
from sqla_oban.unique import BITS
from tests.queries.table import PAST, Table, ago
from tests.support import eventually

AVAILABLE = str(BITS[JobState.AVAILABLE])
RESERVE, HOLDERS = reserve(JOBS), holders(JOBS)


async def add(table: Table, state: str = "available", key: str = "k", states: str = AVAILABLE, **columns: str) -> int:
    """A job that keeps others out in `states`, a mask; by default only while it is available."""
    return await table.add(state=f"'{state}'", unique_key=f"'{key}'", unique_states=states, **columns)


async def add_executing(table: Table, **columns: str) -> int:
    return await table.add_executing("gone", unique_key="'k'", unique_states=AVAILABLE, **columns)


async def conflict(table: Table, id_: int) -> Any:
    """What the job's meta says: the id of the job that it gave way to."""
    row = await table.job(id_)
    assert row.unique_states == 0, "its key is given up"
    assert row.unique_key == "k", "and still to be read"
    return row.meta["unique_conflict"]


async def test_two_rows_cannot_hold_the_same_key(table: Table) -> None:
    await add(table)
    with pytest.raises(IntegrityError, match="oban_jobs_unique_key_index"):
        await add(table)
    await add(table, key="other")
    await add(table, state="completed")
    assert len(await table.states()) == 3


async def test_a_foreign_writer_may_pass_over_conflicts(table: Table) -> None:
    await add(table)
    insert = "INSERT INTO oban_jobs (worker, unique_key, unique_states) VALUES ('w', 'k', 1) ON CONFLICT DO NOTHING"
    assert await table.scalar(f"{insert} RETURNING id") is None


async def test_a_foreign_writer_is_not_kept_out_by_what_has_expired(table: Table) -> None:
    old = await add(table, inserted_at=ago(61), unique_period="interval '60 seconds'")
    new = await add(table, unique_period="interval '60 seconds'")
    assert (await table.job(old)).unique_states == 0
    assert (await table.job(new)).unique_states == int(AVAILABLE)


async def staging(table: Table) -> None:
    await table.run(stage(None), limit=100, aside=[], asleep=[], producers=[], horizon=60.0)


async def retrying(table: Table) -> None:
    await table.run(retry(select(JOBS.c.id), None))


async def rescuing(table: Table) -> None:
    await table.run(rescue(None), batch=100, grace=1.0, rescue_after=1.0, aside=[])


async def releasing(table: Table) -> None:
    await table.run(release(None), producer="gone", keep=[], only=None)


async def acknowledging(table: Table) -> None:
    """As another library may do it: back to where it came from."""
    rows = await table.run(text("SELECT id, attempted_at FROM oban_jobs WHERE state = 'executing'"))
    acks = [Ack(row.id, row.attempted_at, JobState.AVAILABLE) for row in rows]
    await table.run(ACK, **parameters(acks))


async def by_sql(table: Table) -> None:
    await table.scalar("UPDATE oban_jobs SET state = 'available' WHERE state <> 'available' RETURNING id")


WAYS = {
    "stage": ("retryable", staging),
    "retry": ("cancelled", retrying),
    "rescue": ("executing", rescuing),
    "release": ("executing", releasing),
    "ack": ("executing", acknowledging),
    "sql": ("discarded", by_sql),
}


async def old(table: Table, state: str) -> int:
    if state == "executing":
        return await add_executing(table)
    return await add(table, state, scheduled_at=PAST)


@pytest.mark.parametrize("way", WAYS)
async def test_a_row_that_comes_back_while_another_has_its_place_goes_on_without_its_key(
    way: str, table: Table
) -> None:
    state, run = WAYS[way]
    back, holder = await old(table, state), await add(table)
    stranger = await table.add(
        state=f"'{state}'", scheduled_at=PAST, attempted_at=PAST, attempted_by="ARRAY['n', 'gone']"
    )
    await run(table)
    assert await table.states() == dict.fromkeys((back, holder, stranger), "available"), "no batch is stopped"
    assert await conflict(table, back) == holder
    assert (await table.job(holder)).unique_states == int(AVAILABLE)
    assert "unique_conflict" not in (await table.job(stranger)).meta


@pytest.mark.parametrize("way", WAYS)
async def test_of_several_rows_that_come_back_at_once_one_gets_the_key(way: str, table: Table) -> None:
    state, run = WAYS[way]
    ids = [await old(table, state) for _ in range(3)]
    await run(table)
    assert await table.states() == dict.fromkeys(ids, "available")
    masks = {id_: (await table.job(id_)).unique_states for id_ in ids}
    (winner,) = [id_ for id_, mask in masks.items() if mask]
    assert [await conflict(table, id_) for id_ in ids if id_ != winner] == [winner, winner]


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_waits_for_somebody_who_is_about_to_take_the_key(
    way: str, table: Table, engine: AsyncEngine
) -> None:
    state, run = WAYS[way]
    back = await old(table, state)
    async with engine.connect() as enqueueing:
        await enqueueing.execute(RESERVE, {"keys": ["k"]})
        await run(table)
        assert await conflict(table, back) is None
        assert await table.states() == {back: "available"}


async def test_a_row_whose_time_is_over_gives_up_its_key_when_it_comes_back(table: Table) -> None:
    back = await add(table, "cancelled", inserted_at=ago(61), unique_period="interval '60 seconds'")
    await by_sql(table)
    row = await table.job(back)
    assert (row.unique_states, row.meta) == (0, {})


async def test_a_conflict_is_no_trouble_where_the_meta_is_no_object(table: Table) -> None:
    back = await add(table, "cancelled", meta="'[]'")
    await add(table)
    await by_sql(table)
    row = await table.job(back)
    assert (row.unique_states, row.meta) == (0, [])


async def test_the_meta_that_is_written_with_it_is_kept(table: Table) -> None:
    back, holder = await add_executing(table), await add(table)
    at = (await table.job(back)).attempted_at
    await table.run(ACK, **parameters([Ack(back, at, JobState.AVAILABLE, meta=json.dumps({"noted": 1}))]))
    assert (await table.job(back)).meta == {"noted": 1, "unique_conflict": holder}


async def test_a_test_can_hasten_a_unique_job(table: Table) -> None:
    back = await add(table, "scheduled", states="255")
    await table.run(hasten(is_due(EVER)))
    assert await table.states() == {back: "available"}
    assert (await table.job(back)).unique_states == 255


async def test_rows_that_go_on_holding_their_key_ask_nobody(table: Table, engine: AsyncEngine) -> None:
    """A claim and an acknowledgement of a job that is unique in all its states take no lock."""
    id_ = await add(table, states="255")
    async with engine.connect() as enqueueing:
        await enqueueing.execute(
            text("SELECT pg_advisory_xact_lock(1868718446, slot) FROM generate_series(0, 4095) slot")
        )
        (claimed,) = await table.claim()
        await table.run(ACK, **parameters([Ack(claimed.id, claimed.attempted_at, JobState.COMPLETED)]))
    assert await table.states() == {id_: "completed"}
    assert (await table.job(id_)).unique_states == 255


async def test_what_is_held_is_found_and_what_is_free_is_locked(table: Table, engine: AsyncEngine) -> None:
    held, expired = await add(table, key="held"), await add(table, key="e", inserted_at=ago(9), unique_period="'1 s'")
    async with engine.connect() as one:
        found = {row.key: row.id for row in await one.execute(RESERVE, {"keys": ["free", "held", "e", "free"]})}
        assert found == {"held": held, "free": None, "e": None}
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1868718446"
        assert await table.scalar(locks) == 2
        rows = [tuple(row) for row in await one.execute(HOLDERS, {"keys": ["free", "held", "e"]})]
        assert sorted(rows) == [("e", expired, True), ("held", held, False)]
        await one.execute(give_up(JOBS), {"ids": [expired]})
        assert [tuple(row) for row in await one.execute(HOLDERS, {"keys": ["free", "e"]})] == []


async def test_keys_are_locked_in_one_order_so_that_nobody_deadlocks(engine: AsyncEngine) -> None:
    keys = [f"key {number}" for number in range(200)]

    async def take(order: list[str]) -> None:
        async with engine.begin() as connection:
            await connection.execute(RESERVE, {"keys": order})

    await asyncio.gather(*(take(keys[at:] + keys[:at]) for at in range(0, 200, 13)))


async def test_however_many_keys_there_are_the_locks_are_few(table: Table, engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(RESERVE, {"keys": [f"key {number}" for number in range(20_000)]})
        assert await table.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") <= 4_096


async def test_the_second_of_two_waits_for_the_first(table: Table, engine: AsyncEngine) -> None:
    async with engine.connect() as first, engine.connect() as second:
        await first.execute(RESERVE, {"keys": ["k"]})
        waiting = asyncio.create_task(lock(second))
        await eventually(lambda: is_waiting(table), "the second waits")
        await first.execute(text("INSERT INTO oban_jobs (worker, unique_key, unique_states) VALUES ('w', 'k', 1)"))
        await first.commit()
        await waiting
        assert len((await second.execute(HOLDERS, {"keys": ["k"]})).all()) == 1


async def lock(connection: Any) -> None:
    await connection.execute(RESERVE, {"keys": ["k"]})


async def is_waiting(table: Table) -> bool:
    return bool(await table.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


async def test_a_writer_that_knows_nothing_waits_too(table: Table, engine: AsyncEngine) -> None:
    async with engine.connect() as first, engine.connect() as second:
        await first.execute(RESERVE, {"keys": ["k"]})
        await second.execute(text("SET lock_timeout = '50ms'"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            await second.execute(text("INSERT INTO oban_jobs (worker, unique_key, unique_states) VALUES ('w', 'k', 1)"))


async def test_keys_are_looked_up_by_the_index(table: Table) -> None:
    await table.scalar(
        "INSERT INTO oban_jobs (worker, unique_key, unique_states) SELECT 'w', 'key ' || n, 255 "
        "FROM generate_series(1, 2000) n RETURNING 1"
    )
    await table.connection.execute(text("ANALYZE oban_jobs"))
    for statement in (RESERVE, HOLDERS):
        plan = await table.plan(statement, keys="'{key 1,key 2}'", param_1="0")
        assert "oban_jobs_unique_key_index" in plan
        assert "Seq Scan" not in plan
