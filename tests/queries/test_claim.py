from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.claim import CLAIM, START, Key, behind
from tests.queries.table import FUTURE, PAST, Table, ago


async def test_a_claimed_job_is_executing_here_in_one_more_attempt(table: Table) -> None:
    job_id = await table.add(attempt="2", args="'{\"a\": 1}'", tags="ARRAY['t']", priority="3")
    (claimed,) = await table.claim()
    row = await table.job(job_id)
    assert (row.state, row.attempt, row.attempted_by) == ("executing", 3, ["node", "me"])
    assert (claimed.id, claimed.state, claimed.worker, claimed.attempt) == (job_id, JobState.EXECUTING, "w", 3)
    assert (claimed.max_attempts, claimed.priority, claimed.tags) == (20, 3, ["t"])
    assert (claimed.args, claimed.meta, claimed.errors) == ('{"a": 1}', "{}", "[]")
    assert claimed.attempted_at == row.attempted_at
    assert datetime.fromisoformat(claimed.scheduled_at) == row.scheduled_at


async def test_jobs_are_claimed_by_priority_then_time_then_id(table: Table) -> None:
    ids = [
        await table.add(priority=priority, scheduled_at=at)
        for priority, at in [("1", ago(9)), ("0", ago(1)), ("0", ago(5)), ("12", ago(99)), ("0", "'2020-01-01'")]
    ]
    later = await table.add(priority="0", scheduled_at="'2020-01-01'")
    order = []
    while claimed := await table.claim(demand=1):
        order.append(claimed[0].id)
    assert order == [ids[4], later, ids[2], ids[1], ids[0], ids[3]]


async def test_no_more_jobs_are_claimed_than_asked_for(table: Table) -> None:
    for _ in range(5):
        await table.add()
    assert [len(await table.claim(demand=3)) for _ in range(3)] == [3, 2, 0]


@pytest.mark.parametrize("demand", [0, 1])
async def test_jobs_of_other_queues_are_left_alone(demand: int, table: Table) -> None:
    await table.add(queue="'other'")
    await table.add(queue="'Default'")
    assert await table.claim(demand=demand) == []


async def test_jobs_that_another_is_taking_are_passed_over(table: Table, engine: AsyncEngine) -> None:
    first, second = await table.add(), await table.add()
    async with engine.begin() as other:
        await other.execute(text("SELECT FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": first})
        claimed = await table.claim()
    assert [one.id for one in claimed] == [second]
    assert [one.id for one in await table.claim()] == [first]


async def test_a_key_skips_what_comes_before_it(table: Table) -> None:
    ids = [await table.add(scheduled_at="'2020-01-01'", priority=priority) for priority in ("0", "0", "1")]
    (taken,) = await table.claim(demand=1)
    back = await table.add(scheduled_at="'2019-01-01'")
    assert [one.id for one in await table.claim(after=[Key.of(taken)])] == ids[1:]
    assert [one.id for one in await table.claim()] == [back]


async def test_each_priority_is_looked_at_behind_its_own_key_and_what_lies_between_from_its_start(
    table: Table,
) -> None:
    keys = []
    for priority in ("1", "5"):
        await table.add(priority=priority)
        (taken,) = await table.claim()
        keys.append(Key.of(taken))
    ids = [await table.add(priority=priority, scheduled_at=FUTURE) for priority in ("0", "1", "3", "5", "9", "32767")]
    passed = [await table.add(priority=priority, scheduled_at=PAST) for priority in ("1", "5")]
    order = []
    while claimed := await table.claim(demand=1, after=[START, *keys]):
        order.append(claimed[0].id)
    assert order == ids
    assert {one.id for one in await table.claim()} == set(passed)


async def test_no_more_is_locked_than_is_taken_however_many_parts_there_are(table: Table, engine: AsyncEngine) -> None:
    ids = [await table.add(priority=priority) for priority in ("0", "0", "5", "5")]
    keys = [START, Key(3, "-infinity", 0)]
    asked: dict[str, Any] = {"of_queue": "default", "demand": 1, "holder": ["n", "p"], **behind(*keys)}
    async with engine.begin() as other:
        assert [row.id for row in await other.execute(CLAIM, asked)] == ids[:1]
        assert [one.id for one in await table.claim()] == ids[1:]


@pytest.mark.parametrize(
    "moment", ["'-infinity'", "'infinity'", "'20000-01-01'", "'0044-03-15 BC'", "'2026-11-23 19:00:00.000001'"]
)
async def test_a_key_can_stand_behind_a_job_of_any_moment(moment: str, table: Table) -> None:
    ids = [await table.add(scheduled_at=moment) for _ in range(2)]
    first = await table.claim(demand=1)
    assert [one.id for one in await table.claim(after=[Key.of(one) for one in first])] == [ids[1]]


async def test_a_job_without_an_attempt_left_is_discarded_instead(table: Table) -> None:
    spent, fresh = await table.add(attempt="3", max_attempts="3"), await table.add(attempt="2", max_attempts="3")
    claimed = {one.id: (one.state, one.attempt) for one in await table.claim()}
    assert claimed == {spent: (JobState.DISCARDED, 3), fresh: (JobState.EXECUTING, 3)}
    row = await table.job(spent)
    assert row.discarded_at is not None
    assert (await table.job(fresh)).discarded_at is None
    assert await table.claim() == []


async def test_each_claim_of_a_job_has_its_own_moment(table: Table) -> None:
    await table.add()
    moments = set()
    for _ in range(5):
        moments.add((await table.claim())[0].attempted_at)
        await table.scalar("UPDATE oban_jobs SET state = 'available' RETURNING id")
    assert len(moments) == 5


async def test_two_claims_in_one_transaction_have_moments_of_their_own(engine: AsyncEngine, table: Table) -> None:
    await table.add()
    await table.add()
    asked: dict[str, Any] = {"of_queue": "default", "demand": 1, "holder": ["n", "p"], **behind(START)}
    async with engine.begin() as connection:
        rows = [(await connection.execute(CLAIM, asked)).one() for _ in range(2)]
    assert rows[0].attempted_at != rows[1].attempted_at


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"priority": "32767"}, id="priority"),
        pytest.param({"args": "'[1, 2]'"}, id="args-array"),
        pytest.param({"args": "to_jsonb(repeat('1', 5000)::numeric)"}, id="args-of-5000-digits"),
        pytest.param({"args": "'null'", "meta": "'5'", "errors": "'{}'"}, id="scalars"),
        pytest.param({"scheduled_at": "'20000-01-01'", "inserted_at": "'0044-03-15 BC'"}, id="beyond-the-calendar"),
        pytest.param({"scheduled_at": "'infinity'", "inserted_at": "'-infinity'"}, id="infinity"),
        pytest.param({"completed_at": "'20000-01-01'", "cancelled_at": "'-infinity'"}, id="other-moments"),
        pytest.param({"attempted_at": "'20000-01-01'"}, id="earlier-attempt"),
        pytest.param({"tags": "ARRAY[NULL, 'Ü', '']"}, id="tags"),
        pytest.param({"attempted_by": "ARRAY[]::text[]"}, id="nobody"),
        pytest.param({"max_attempts": "32767", "attempt": "32766"}, id="attempts"),
        pytest.param({"queue": "'default'", "worker": "repeat('Ü', 127)"}, id="worker"),
    ],
)
async def test_no_row_that_the_database_accepts_breaks_the_claim(columns: dict[str, str], table: Table) -> None:
    odd, plain = await table.add(**columns), await table.add()
    assert {one.id for one in await table.claim()} == {odd, plain}


async def test_jobs_that_are_due_later_but_available_are_claimed(table: Table) -> None:
    ids = [await table.add(scheduled_at=FUTURE), await table.add(scheduled_at=PAST)]
    assert {one.id for one in await table.claim()} == set(ids)


async def test_the_claim_reads_its_index_from_front_to_back(table: Table) -> None:
    await table.scalar(
        "WITH made AS (INSERT INTO oban_jobs (worker, queue) SELECT 'w', 'q' || n % 3 FROM generate_series(1, 3000) n "
        "RETURNING id) SELECT count(*) FROM made"
    )
    await table.connection.execute(text("ANALYZE oban_jobs"))
    keys = behind(START, Key(3, "2026-01-01 00:00:00", 7), Key(5, "-infinity", 0))
    parts = {name: f"ARRAY{values}" for name, values in keys.items()}
    plan = await table.plan(CLAIM, of_queue="'q1'", demand="10", holder="ARRAY['n', 'p']", **parts)
    assert "Index Scan using oban_jobs_claim_index" in plan
    assert "Nested Loop" in plan.partition("CTE picked")[2].partition("Function Scan on part")[0]
    assert "Sort" not in plan
    condition = plan.partition("oban_jobs_claim_index")[2].partition("Index Cond:")[2].splitlines()[0]
    assert "ROW(" in condition
    assert "priority < part.below" in condition
