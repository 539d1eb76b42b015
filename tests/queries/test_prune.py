import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.prune import prunable, prune
from sqla_oban.states import FINAL
from tests.queries.table import Table, ago

every_end = pytest.mark.parametrize("end", FINAL)


async def pruned(table: Table, end: JobState, *, age: float = 60, batch: int = 100) -> set[int]:
    """As the pruner does it: first the candidates, then their deletion."""
    ids = [row[0] for row in await table.run(prunable(end), age=age, batch=batch, kept=[])]
    return {row[0] for row in await table.run(prune(end), ids=ids)}


async def ended(table: Table, state: JobState, seconds: float) -> int:
    """A job that ended so long ago; the moments of the other ends are older, and do not count."""
    moments = {f"{end}_at": ago(10_000) for end in FINAL}
    return await table.add(**{**moments, "state": f"'{state}'", f"{state}_at": ago(seconds)})


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
async def test_kept_jobs_are_no_candidates(end: JobState, table: Table) -> None:
    kept, other = await ended(table, end, 100), await ended(table, end, 100)
    rows = await table.run(prunable(end), age=60, batch=100, kept=[kept])
    assert {row[0] for row in rows} == {other}


@every_end
async def test_a_candidate_that_is_no_longer_at_its_end_stays(end: JobState, table: Table) -> None:
    retried = await table.add(state="'available'")
    assert await table.run(prune(end), ids=[retried]) == []
