from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.prune import Ended, aged, prune, surplus
from sqla_oban.states import FINAL
from tests.queries.table import Table, ago

every_end = pytest.mark.parametrize("end", FINAL)


async def pruned(table: Table, end: JobState, *, age: float = 60, batch: int = 100) -> set[int]:
    """As the pruner does it: first the candidates, then their deletion."""
    ids = [row.id for row in await looked_at(table, end, general=age, batch=batch) if row.is_old]
    return {row[0] for row in await table.run(prune(end), ids=ids)}


async def looked_at(
    table: Table,
    end: JobState,
    *,
    general: float = 60,
    workers: dict[str, float] | None = None,
    queues: dict[str, float] | None = None,
    batch: int = 100,
    after: tuple[str, int] = ("-infinity", 0),
) -> list[Ended]:
    workers, queues = workers or {}, queues or {}
    asked = {
        "workers": list(workers),
        "worker_ages": [float(age) for age in workers.values()],
        "queues": list(queues),
        "queue_ages": [float(age) for age in queues.values()],
        "general": general,
        "youngest": min([general, *workers.values(), *queues.values()]),
        "after_at": after[0],
        "after_id": after[1],
        "batch": batch,
    }
    return [Ended._make(row) for row in await table.run(aged(end), **asked)]


async def ended(table: Table, state: JobState, seconds: float, **columns: str) -> int:
    """A job that ended so long ago; the moments of the other ends are older, and do not count."""
    moments = {f"{end}_at": ago(10_000) for end in FINAL}
    return await table.add(**{**moments, "state": f"'{state}'", f"{state}_at": ago(seconds), **columns})


@every_end
async def test_jobs_that_ended_long_ago_are_deleted(end: JobState, table: Table) -> None:
    old, young = await ended(table, end, 61), await ended(table, end, 30)
    assert await pruned(table, end) == {old}
    assert set(await table.states()) == {young}


@every_end
async def test_jobs_in_other_states_stay(end: JobState, table: Table) -> None:
    moments = {f"{name}_at": ago(10_000) for name in FINAL}
    others = {await table.add(**moments, state=f"'{state}'") for state in JobState if state is not end}
    assert await pruned(table, end) == set()
    assert set(await table.states()) == others


@every_end
async def test_the_oldest_are_deleted_first(end: JobState, table: Table) -> None:
    ids = [await ended(table, end, seconds) for seconds in (100, 300, 200)]
    assert await pruned(table, end, batch=2) == {ids[1], ids[2]}
    assert await pruned(table, end, batch=2) == {ids[0]}


@every_end
async def test_jobs_that_another_holds_are_passed_over(end: JobState, table: Table, engine: AsyncEngine) -> None:
    held, free = await ended(table, end, 100), await ended(table, end, 100)
    async with engine.begin() as other:
        await other.execute(text("SELECT FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": held})
        assert await pruned(table, end) == {free}


@every_end
async def test_a_job_whose_end_has_no_moment_or_lies_ahead_stays(end: JobState, table: Table) -> None:
    await table.add(state=f"'{end}'")
    await table.add(**{"state": f"'{end}'", f"{end}_at": "'infinity'"})
    assert await pruned(table, end) == set()


@every_end
async def test_the_age_of_the_worker_comes_before_that_of_the_queue_and_that_before_the_general_one(
    end: JobState, table: Table
) -> None:
    everywhere = [("'w'", "'q'"), ("'w'", "'other'"), ("'other'", "'q'"), ("'other'", "'other'")]
    ids = [await ended(table, end, 100, worker=worker, queue=queue) for worker, queue in everywhere]

    async def old(**ages: Any) -> list[bool]:
        by_id = {row.id: row.is_old for row in await looked_at(table, end, **ages)}
        return [by_id.get(one, False) for one in ids]

    assert await old(general=60) == [True, True, True, True]
    assert await old(general=60, queues={"q": 600}) == [False, True, False, True]
    assert await old(general=60, queues={"q": 600}, workers={"w": 60}) == [True, True, False, True]
    assert await old(general=600, queues={"q": 60}, workers={"w": 600}) == [False, False, True, False]
    assert await old(general=600, workers={"w": 60}) == [True, True, False, False]


@every_end
async def test_what_was_looked_at_is_passed_by(end: JobState, table: Table) -> None:
    ids = [await ended(table, end, 100 - number) for number in range(5)]
    first = await looked_at(table, end, general=1e10, queues={"default": 1e10, "elsewhere": 60}, batch=2)
    assert [(row.id, row.is_old) for row in first] == [(ids[0], False), (ids[1], False)]
    rest = await looked_at(table, end, batch=10, after=(first[-1].at, first[-1].id))
    assert [row.id for row in rest] == ids[2:]


@every_end
async def test_jobs_beyond_the_newest_of_their_scope_are_surplus(end: JobState, table: Table) -> None:
    places = {
        "mine": {"worker": "'w'"},
        "queued": {"queue": "'q'"},
        "both": {"worker": "'w'", "queue": "'q'"},
        "none": {},
    }
    ids = {
        name: [await ended(table, end, 100 - number, **{"worker": "'x'", **columns}) for number in range(4)]
        for name, columns in places.items()
    }

    async def beyond(most: int, worker: str | None = None, queue: str | None = None) -> set[int]:
        scope = {"worker": worker, "queue": queue, "workers": ["w"], "queues": ["q"]}
        return {row[0] for row in await table.run(surplus(end), **scope, most=most, batch=100)}

    assert await beyond(3) == {ids["none"][0]}
    assert await beyond(4) == set()
    assert await beyond(1, queue="q") == set(ids["queued"][:3])
    assert await beyond(2, worker="w") == {*ids["mine"][:3], *ids["both"][:3]}


@every_end
async def test_a_look_reads_only_its_own_part_of_the_index(end: JobState, table: Table) -> None:
    """Also where a hundred thousand older rows are kept: those before the key are not read."""
    await table.connection.exec_driver_sql(
        f"INSERT INTO oban_jobs (worker, queue, state, {end}_at) SELECT 'w', 'kept', '{end}', "
        "timezone('UTC', now()) - interval '1 day' - n * interval '1 second' FROM generate_series(1, 20000) n"
    )
    await table.connection.exec_driver_sql("ANALYZE oban_jobs")
    literals = {
        "workers": "ARRAY[]::text[]",
        "worker_ages": "ARRAY[]::float[]",
        "queues": "ARRAY['kept']",
        "queue_ages": "ARRAY[1e10]::float[]",
        "general": "60",
        "youngest": "60",
        "batch": "100",
        "after_at": f"({ago(86_400 + 500)})::text",
        "after_id": "0",
    }
    plan = await table.plan(aged(end), **literals)
    assert f"oban_jobs_{end}_at_index" in plan
    assert "Seq Scan on oban_jobs" not in plan


@every_end
async def test_a_candidate_that_is_no_longer_at_its_end_stays(end: JobState, table: Table) -> None:
    retried = await table.add(state="'available'")
    assert await table.run(prune(end), ids=[retried]) == []


@every_end
async def test_jobs_of_a_batch_are_kept_until_the_last_of_it_has_ended(end: JobState, table: Table) -> None:
    batch = f"'{uuid4()}'"
    old = await ended(table, end, 100, batch_id=batch)
    other = await table.add(state="'retryable'", batch_id=batch)
    assert await pruned(table, end) == set()
    assert {row[0] for row in await table.run(prune(end), ids=[old])} == set()
    await table.connection.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE id = :id"), {"id": other})
    assert await pruned(table, end) == {old}
