import pytest
from sqlalchemy import literal_column, text, true
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.claim import Key
from sqla_oban.queries.expressions import JOBS, statement_time
from sqla_oban.queries.hasten import EVER, hasten, is_due
from tests.queries.table import FUTURE, PAST, Table

ALL = hasten(is_due(EVER))
DUE = hasten(is_due(statement_time()))


@pytest.mark.parametrize("state", list(JobState))
async def test_a_job_that_waits_becomes_available_whenever_it_is_due(state: JobState, table: Table) -> None:
    job = await table.add(state=f"'{state}'", scheduled_at=FUTURE, attempt="2")
    found = await table.run(ALL)
    if state in (JobState.AVAILABLE, JobState.SCHEDULED, JobState.RETRYABLE):
        assert [row.id for row in found] == [job]
        assert await table.states() == {job: "available"}
        assert (await table.job(job)).attempt == 2
    else:
        assert found == []
        assert await table.states() == {job: state}


async def test_until_its_time_has_come_only_if_that_is_asked_for(table: Table) -> None:
    await table.add(state="'scheduled'", scheduled_at=FUTURE)
    assert await table.run(DUE) == []
    due = await table.add(state="'scheduled'", scheduled_at=PAST)
    assert [row.id for row in await table.run(DUE)] == [due]


async def test_it_takes_one_in_the_order_of_the_claim(table: Table) -> None:
    for priority, at in (("1", PAST), ("0", FUTURE), ("0", PAST), ("0", PAST)):
        await table.add(priority=priority, scheduled_at=at, state="'scheduled'")
    assert [row.id for row in await table.run(ALL)] == [3]
    assert set((await table.states()).values()) == {"scheduled", "available"}


async def test_only_of_those_that_are_meant(table: Table) -> None:
    await table.add(queue="'a'")
    b = await table.add(queue="'b'")
    (row,) = await table.run(hasten(is_due(EVER) & (JOBS.c.queue == literal_column("'b'"))))
    assert (row.id, row.queue) == (b, "b")
    assert await table.run(hasten(~true() & is_due(EVER))) == []


@pytest.mark.parametrize("at", [PAST, FUTURE, "'infinity'", "'-infinity'", "'20000-01-01'"])
async def test_a_claim_from_before_its_key_takes_that_job(at: str, table: Table) -> None:
    await table.add(priority="0", queue="'a'", scheduled_at=PAST)
    wanted = await table.add(priority="1", queue="'a'", scheduled_at=at)
    await table.add(priority="1", queue="'a'", scheduled_at=at)
    (row,) = await table.run(hasten((JOBS.c.id == wanted) & is_due(EVER)))
    before = Key(row.priority, row.scheduled_at, row.id - 1)
    assert [one.id for one in await table.claim(1, "a", [before])] == [wanted]


async def test_a_job_that_another_has_locked_is_passed_over(table: Table, engine: AsyncEngine) -> None:
    for _ in range(2):
        await table.add()
    async with engine.begin() as other:
        await other.execute(text("SELECT FROM oban_jobs WHERE id = 1 FOR UPDATE"))
        assert [row.id for row in await table.run(ALL)] == [2]
