"""What can be asked of and done to workflows, and what keeps them."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Cancel, Job, SqlaOban, Workflow, current_job, job
from sqla_oban.errors import InvalidWorkflow, WorkflowNotFound
from sqla_oban.queries.prune import prune
from sqla_oban.queries.workflow import forget
from sqla_oban.states import JobState
from sqla_oban.testing import drain
from tests.support import jobs

REFUSE: set[str] = set()


@job(name="tests.workflows.stage")
async def stage(name: str) -> object:
    return Cancel("refused") if name in REFUSE else current_job().context.get("day")


async def stored(engine: AsyncEngine) -> Workflow:
    workflow = Workflow(name="import", context={"day": "monday"})
    for name, deps in {"extract": [], "load": ["extract"], "report": ["load"]}.items():
        workflow.add(name, stage.new(name), deps=deps)
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(workflow)
    return workflow


async def test_a_workflow_that_failed_goes_on_where_it_stopped(engine: AsyncEngine) -> None:
    oban, workflow = SqlaOban(engine), await stored(engine)
    REFUSE.add("load")
    await drain(engine)
    status = await oban.workflows.status(workflow)
    assert (status.state, status.total) == ("cancelled", 3)
    assert status.jobs == {JobState.COMPLETED: 1, JobState.CANCELLED: 2}
    assert status.duration is not None
    assert "load, which it depends on in its workflow, was cancelled" in str((await jobs(engine))[2].errors)

    REFUSE.clear()
    assert await oban.workflows.retry(workflow.id) == 2
    assert [one.state for one in await jobs(engine)] == ["completed", "available", "suspended"]
    await drain(engine)
    assert (await oban.workflows.status(workflow)).state == "completed"


async def test_a_retry_of_the_one_that_failed_makes_the_others_wait_again(engine: AsyncEngine) -> None:
    oban, workflow = SqlaOban(engine), await stored(engine)
    REFUSE.add("extract")
    await drain(engine)
    REFUSE.clear()
    assert [one.state for one in await jobs(engine)] == ["cancelled"] * 3
    await oban.jobs.retry(workflow.jobs["extract"].id)
    assert [one.state for one in await jobs(engine)] == ["available", "suspended", "suspended"]


async def test_cancel_ends_all_that_has_not_ended(engine: AsyncEngine) -> None:
    oban, workflow = SqlaOban(engine), await stored(engine)
    assert await oban.workflows.cancel(workflow) == 3
    assert (await oban.workflows.status(workflow)).state == "cancelled"


async def test_get_context_and_graph(engine: AsyncEngine) -> None:
    oban, workflow = SqlaOban(engine), await stored(engine)
    await oban.workflows.put_context(workflow, {"day": "tuesday", "more": 1})
    found = await oban.workflows.get(workflow.id)
    assert found is not None
    assert found.context == {"day": "tuesday", "more": 1}
    graph = await oban.workflows.to_mermaid(workflow)
    assert 'n1["load<br/>suspended"]' in graph
    assert "n0 --> n1" in graph
    with pytest.raises(InvalidWorkflow, match="more than 1,000,000"):
        await oban.workflows.put_context(workflow, {"x": "y" * 999_995})
    with pytest.raises(WorkflowNotFound):
        await oban.workflows.status(12345)
    assert await oban.workflows.get(12345) is None


async def test_jobs_of_a_live_workflow_are_not_pruned_and_a_workflow_without_jobs_is_forgotten(
    engine: AsyncEngine,
) -> None:
    workflow = await stored(engine)
    await drain(engine, limit=1)
    everything = {"ids": [one.id for one in await jobs(engine)]}
    async with engine.begin() as connection:
        assert (await connection.execute(prune(JobState.COMPLETED), everything)).all() == []
    await drain(engine)
    async with engine.begin() as connection:
        assert len((await connection.execute(prune(JobState.COMPLETED), everything)).all()) == 3
    async with engine.begin() as connection:
        assert [row[0] for row in await connection.execute(forget(), {"age": 0.0})] == [workflow.id]
        assert await connection.scalar(text("SELECT count(*) FROM oban_workflow_edges")) == 0


async def test_jobs_of_other_libraries_that_are_suspended_stay_so(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add(Job(worker="w", state=JobState.SUSPENDED))
    await drain(engine)
    assert [one.state for one in await jobs(engine)] == ["suspended"]
