import pytest
from sqlalchemy import Executable

from sqla_oban import JobState
from sqla_oban.queries.release import release
from tests.queries.table import Table

RELEASE: Executable = release(None)


async def released(table: Table, producer: str, *keep: int) -> list[int]:
    return sorted(row[0] for row in await table.run(RELEASE, producer=producer, keep=list(keep), only=None))


async def test_jobs_of_a_producer_become_available_with_their_attempt_refunded(table: Table) -> None:
    ids = [await table.add_executing("p", attempt="3", scheduled_at="'2020-01-01'") for _ in range(3)]
    assert await released(table, "p") == ids
    rows = [await table.job(job_id) for job_id in ids]
    assert {(row.state, row.attempt, row.scheduled_at.year) for row in rows} == {("available", 2, 2020)}


async def test_jobs_that_are_kept_and_those_of_others_stay(table: Table) -> None:
    mine, kept, other = [await table.add_executing(producer) for producer in ("p", "p", "q")]
    nobodys = await table.add_executing(attempted_by="ARRAY[]::text[]")
    assert await released(table, "p", kept) == [mine]
    assert await table.states() == {mine: "available", kept: "executing", other: "executing", nobodys: "executing"}


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.EXECUTING])
async def test_jobs_that_are_not_executing_stay(state: JobState, table: Table) -> None:
    await table.add_executing("p", state=f"'{state}'")
    assert await released(table, "p") == []


async def test_an_attempt_never_goes_below_zero(table: Table) -> None:
    job_id = await table.add_executing("p", attempt="0")
    assert await released(table, "p") == [job_id]
    assert (await table.job(job_id)).attempt == 0


async def test_nothing_to_release_is_no_row(table: Table) -> None:
    assert await released(table, "p") == []
