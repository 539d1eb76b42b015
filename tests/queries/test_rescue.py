from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.producers import producer_id
from sqla_oban.queries.rescue import Rescued, rescue
from tests.queries.table import PAST, Table, ago

RESCUE = rescue(None)


async def rescued(table: Table, *, batch: int = 100, grace: float = 5, after: float | None = None) -> dict[int, str]:
    rows = await table.run(RESCUE, batch=batch, grace=grace, rescue_after=after, aside=[])
    return {one.id: one.state for one in (Rescued._make(row) for row in rows)}


async def test_jobs_of_a_producer_that_beats_no_longer_are_put_back_and_the_attempt_counts(table: Table) -> None:
    producer = await table.add_producer(beaten=ago(20), meta='{"ttl": 15}')
    job_id = await table.add_executing(producer, attempt="2", meta='\'{"rescued": 1, "a": 2}\'')
    assert await rescued(table) == {job_id: "available"}
    row = await table.job(job_id)
    assert (row.state, row.attempt, row.discarded_at, row.meta) == ("available", 2, None, {"rescued": 2, "a": 2})
    (error,) = row.errors
    assert (error["attempt"], error["error"]) == (2, "rescued: node node disappeared while it ran the job")


async def test_jobs_without_an_attempt_left_are_discarded(table: Table) -> None:
    producer = await table.add_producer(beaten=PAST, meta='{"ttl": 15}')
    job_id = await table.add_executing(producer, attempt="3", max_attempts="3")
    assert await rescued(table) == {job_id: "discarded"}
    assert (await table.job(job_id)).discarded_at is not None


@pytest.mark.parametrize(
    ("beaten", "meta", "alive"),
    [
        (ago(1), '{"ttl": 15}', True),
        (ago(20), '{"ttl": 15}', False),
        (ago(30), "{}", True),
        (ago(70), "{}", False),
        (ago(20), '{"ttl": null}', True),
        (ago(30), '{"ttl": "abc"}', True),
        (ago(70), '{"ttl": "NaN"}', False),
        (ago(30), '{"ttl": {}}', True),
        (ago(70), '{"ttl": true}', False),
        (PAST, '{"ttl": 1e300}', True),
        (PAST, '{"ttl": 1e1000}', True),
        (ago(1), '{"ttl": -1e300}', False),
        (ago(20), "[]", True),
        (ago(20), '"text"', True),
        ("'infinity'", "{}", True),
        ("'-infinity'", "{}", False),
    ],
)
async def test_a_producer_counts_as_alive_for_its_own_time_or_for_that_of_oban(
    beaten: str, meta: str, alive: bool, table: Table
) -> None:
    producer = await table.add_producer(beaten=beaten, meta=meta)
    await table.add_executing(producer)
    assert await rescued(table) == ({} if alive else {1: "available"})


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.EXECUTING])
async def test_only_executing_jobs_are_rescued(state: JobState, table: Table) -> None:
    producer = await table.add_producer(beaten=PAST, meta='{"ttl": 15}')
    await table.add_executing(producer, state=f"'{state}'")
    assert await rescued(table, after=1) == {}


@pytest.mark.parametrize(
    ("ours", "witness", "lost"),
    [
        pytest.param(True, ago(60), True, id="ours-after-the-grace"),
        pytest.param(True, ago(1), False, id="ours-within-the-grace"),
        pytest.param(True, None, False, id="ours-and-nobody-has-registered-yet"),
        pytest.param(False, ago(60), False, id="of-a-library-that-keeps-no-heartbeat"),
    ],
)
async def test_a_producer_without_a_row_is_gone_only_if_it_had_one_and_time_to_register_again(
    ours: bool, witness: str | None, lost: bool, table: Table
) -> None:
    if witness is not None:
        await table.add_producer(beaten=ago(0), meta='{"ttl": 15}', started=witness)
    await table.add_executing(str(producer_id() if ours else uuid4()))
    assert await rescued(table, grace=30) == ({1: "available"} if lost else {})


@pytest.mark.parametrize("held", ["ARRAY[]::text[]", "ARRAY['node']", "ARRAY[NULL, NULL]::text[]", "ARRAY['a', 'b']"])
async def test_jobs_that_name_no_producer_are_left_alone(held: str, table: Table) -> None:
    await table.add_producer(beaten=ago(0), started=PAST)
    await table.add_executing(attempted_by=held)
    assert await rescued(table) == {}
    assert await rescued(table, after=60) == {1: "available"}


async def test_the_age_limit_takes_any_job_that_is_older(table: Table) -> None:
    producer = await table.add_producer(beaten=ago(0), meta='{"ttl": 15}')
    old, young = await table.add_executing(producer), await table.add_executing(producer, attempted_at=ago(5))
    assert await rescued(table) == {}
    assert await rescued(table, after=60) == {old: "available"}
    assert (await table.job(young)).state == "executing"


async def test_a_batch_takes_the_oldest_and_the_next_the_rest(table: Table) -> None:
    producer = await table.add_producer(beaten=PAST, meta='{"ttl": 15}')
    ids = [await table.add_executing(producer, attempted_at=ago(100 + age)) for age in (1, 5, 3)]
    taken = [list(await rescued(table, batch=2)), list(await rescued(table, batch=2)), list(await rescued(table))]
    assert [sorted(batch) for batch in taken] == [sorted([ids[1], ids[2]]), [ids[0]], []]


async def test_jobs_that_another_is_ending_are_passed_over(table: Table, engine: AsyncEngine) -> None:
    producer = await table.add_producer(beaten=PAST, meta='{"ttl": 15}')
    ending, left = await table.add_executing(producer), await table.add_executing(producer)
    async with engine.begin() as other:
        await other.execute(text("SELECT FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": ending})
        assert await rescued(table) == {left: "available"}


@pytest.mark.parametrize(
    "columns", [{"meta": "'[]'"}, {"meta": "'5'"}, {"errors": "'{}'"}, {"scheduled_at": "'infinity'"}], ids=str
)
async def test_no_row_that_the_database_accepts_breaks_the_rescue(columns: dict[str, Any], table: Table) -> None:
    producer = await table.add_producer(beaten=PAST, meta='{"ttl": 15}')
    await table.add_executing(producer, **columns)
    assert await rescued(table) == {1: "available"}
