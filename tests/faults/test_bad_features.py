"""Workflows, limits and signals that cannot be: a clear error at the call, or an outcome that is defined."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Job, JobState, QueueConfig, SqlaOban, Workflow
from sqla_oban.errors import ConfigurationError, InvalidWorkflow, JobHasEnded, JobNotFound
from tests.queries.table import Table
from tests.shop import noop
from tests.support import enqueue, eventually, jobs


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "3", 2**40])
def test_an_impossible_limit_is_refused(number: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"QueueConfig\.global_limit"):
        QueueConfig(global_limit=number)


async def test_jobs_without_the_key_of_a_partition_run_as_one_of_their_own(engine: AsyncEngine, start: Any) -> None:
    divided = QueueConfig(limit=10, global_limit=1, partition=("meta", "account"))
    await enqueue(engine, *[Job(worker="shop.noop", meta=meta) for meta in ({}, {}, {"account": None}, {"account": 1})])
    await start(queues={"default": divided})

    async def have_ended() -> bool:
        return {one.state for one in await jobs(engine)} == {JobState.COMPLETED}

    await eventually(have_ended, "jobs without the key to end")


async def test_a_context_of_a_megabyte_is_stored_and_a_larger_one_refused(engine: AsyncEngine) -> None:
    frame = len('{"text": ""}')
    fits = Workflow(name="large", context={"text": "x" * (1_000_000 - frame)})
    fits.add("only", noop.new())
    async with AsyncSession(engine) as session, session.begin():
        session.add(fits)
    async with engine.connect() as connection:
        stored = await connection.scalar(text("SELECT length(context->>'text') FROM oban_workflows"))
        assert stored == 1_000_000 - frame
    with pytest.raises(InvalidWorkflow, match="keep the data in a table of yours"):
        Workflow(name="larger", context={"text": "x" * (1_000_001 - frame)})


@pytest.mark.parametrize("state", ["completed", "cancelled", "discarded"])
async def test_a_signal_to_a_job_that_has_ended_is_refused_and_changes_nothing(
    state: str, engine: AsyncEngine, table: Table
) -> None:
    job_id = await table.add(state=f"'{state}'")
    oban = SqlaOban(engine)
    async with AsyncSession(engine) as session, session.begin():
        with pytest.raises(JobHasEnded, match=f"is {state}"):
            await oban.jobs.signal(job_id, 1, session=session)
        with pytest.raises(JobNotFound):
            await oban.jobs.signal(job_id + 1, 1, session=session)
        assert await session.scalar(text("SELECT 1")) == 1
    row = await table.job(job_id)
    assert (row.state, row.meta) == (state, {})
