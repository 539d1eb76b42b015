import json
from collections.abc import Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.engine.listeners import listener
from sqla_oban.queries.stage import Staged, stage
from sqla_oban.queries.wake import hold
from tests.queries.table import FUTURE, PAST, Table, ago
from tests.support import eventually

STAGE = stage(None)
NOTHING = Staged([], 0, [], [], None)


async def staged(
    table: Table,
    *,
    limit: int = 100,
    asleep: Sequence[str] = (),
    aside: Sequence[int] = (),
    producers: Sequence[str] = (),
    horizon: float = 60,
) -> Staged:
    asked = {
        "limit": limit,
        "aside": list(aside),
        "asleep": list(asleep),
        "producers": list(producers),
        "horizon": horizon,
    }
    (row,) = await table.run(STAGE, **asked)
    return Staged._make(row)


async def test_there_may_be_nothing_to_do(table: Table) -> None:
    assert await staged(table) == NOTHING


@pytest.mark.parametrize("state", ["scheduled", "retryable"])
async def test_jobs_that_are_due_become_available(state: str, table: Table) -> None:
    due = [await table.add(state=f"'{state}'", scheduled_at=at, attempt="2") for at in (PAST, ago(0), "'-infinity'")]
    later = await table.add(state=f"'{state}'", scheduled_at=FUTURE)
    assert await staged(table) == Staged(["default"], 3, [], [], None)
    assert await table.states() == {**dict.fromkeys(due, "available"), later: state}
    assert (await table.job(due[0])).attempt == 2


async def test_jobs_are_counted_over_all_queues_and_each_queue_is_told_once(table: Table) -> None:
    for queue in ("a", "b", "a"):
        await table.add(state="'scheduled'", scheduled_at=PAST, queue=f"'{queue}'")
    found = await staged(table)
    assert (sorted(found.queues), found.jobs) == (["a", "b"], 3)


async def test_the_earliest_are_taken_first_and_no_more_than_the_limit(table: Table) -> None:
    ids = [await table.add(state="'retryable'", scheduled_at=ago(age)) for age in (5, 50, 20)]
    assert (await staged(table, limit=2)).jobs == 2
    assert await table.states() == {ids[0]: "retryable", ids[1]: "available", ids[2]: "available"}


@pytest.mark.parametrize("state", [state for state in JobState if state not in {"scheduled", "retryable"}])
async def test_jobs_in_other_states_do_not_become_available(state: JobState, table: Table) -> None:
    await table.add(state=f"'{state}'", scheduled_at=PAST)
    assert await staged(table) == NOTHING
    assert await table.states() == {1: state}


async def test_jobs_that_another_is_staging_are_passed_over(table: Table, engine: AsyncEngine) -> None:
    for _ in range(2):
        await table.add(state="'scheduled'", scheduled_at=PAST)
    async with engine.begin() as other:
        await other.execute(text("SELECT FROM oban_jobs WHERE id = 1 FOR UPDATE"))
        assert (await staged(table)).jobs == 1
    assert (await staged(table)).jobs == 1


async def test_sleeping_queues_that_have_work_are_told(table: Table) -> None:
    await table.add(queue="'a'")
    await table.add(queue="'b'", state="'executing'")
    assert (await staged(table, asleep=["a", "b", "c"])).waiting == ["a"]
    assert (await staged(table, asleep=["b"])).waiting == []


async def test_what_is_due_next_is_told_if_it_is_soon(table: Table) -> None:
    await table.add(state="'scheduled'", scheduled_at=ago(-30))
    await table.add(state="'retryable'", scheduled_at=ago(-50))
    soon = (await staged(table, horizon=60)).next_due
    assert soon is not None
    assert 0 < soon <= 30
    assert (await staged(table, horizon=1)).next_due is None


@pytest.mark.parametrize("moment", ["'infinity'", "'20000-01-01'", "'294276-12-31'"])
async def test_a_job_that_is_never_due_breaks_nothing(moment: str, table: Table) -> None:
    await table.add(state="'scheduled'", scheduled_at=moment)
    await table.add(state="'scheduled'", scheduled_at=PAST)
    assert await staged(table) == Staged(["default"], 1, [], [], None)


async def test_jobs_that_are_staged_ring_for_whoever_sleeps(table: Table, engine: AsyncEngine) -> None:
    heard: list[str] = []
    async with engine.connect() as sleeper:
        ears = await listener(sleeper, lambda _, payload: heard.append(payload), lambda: None)
        await (await sleeper.execution_options(isolation_level="AUTOCOMMIT")).execute(hold(None), {"queue": "a"})
        await ears.listen(["public.oban_insert"])
        for queue in ("a", "a", "b"):
            await table.add(state="'scheduled'", scheduled_at=FUTURE, queue=f"'{queue}'")
        await table.scalar(f"UPDATE oban_jobs SET scheduled_at = {PAST} RETURNING id")
        await staged(table)
        await eventually(lambda: bool(heard))
        await sleeper.execute(text("SELECT pg_advisory_unlock_all()"))
        await sleeper.invalidate()
    assert [json.loads(payload) for payload in heard] == [{"queue": "a"}]


async def test_the_look_reads_only_small_indexes(table: Table) -> None:
    await table.scalar(
        "WITH made AS (INSERT INTO oban_jobs (worker, state, completed_at) SELECT 'w', 'completed', now() "
        "FROM generate_series(1, 3000) RETURNING id) SELECT count(*) FROM made"
    )
    await table.connection.execute(text("ANALYZE oban_jobs"))
    plan = await table.plan(
        STAGE, limit="100", aside="ARRAY[]::bigint[]", asleep="ARRAY['a']", producers="ARRAY['p']", horizon="1"
    )
    assert "oban_jobs_staging_index" in plan
    assert "oban_jobs_claim_index" in plan
    assert "Seq Scan on oban_jobs" not in plan
