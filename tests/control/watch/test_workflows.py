"""What is told of workflows, whatever their size."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import JobState, Workflow
from sqla_oban.control.watch.workflows import details, summary, workflows
from sqla_oban.queries import browse_workflows as asking
from tests.queries.table import PAST, Table
from tests.shop import noop
from tests.support import both_drivers

MAKE = """
    WITH flow AS (INSERT INTO oban_workflows (name) VALUES ('large') RETURNING id),
    made AS (INSERT INTO oban_jobs (worker, state, completed_at, workflow_id, workflow_name)
      SELECT 'w', 'completed', timezone('UTC', now()), flow.id, 'job ' || n FROM flow, generate_series(1, {jobs}) n
      RETURNING 1)
    SELECT id FROM flow, (SELECT count(*) FROM made) counted
"""


async def large(table: Table, jobs: int) -> int:
    await table.scalar("SELECT set_config('session_replication_role', 'replica', false)")
    return int(await table.scalar(MAKE.format(jobs=jobs)))


async def stored(engine: AsyncEngine) -> Workflow:
    workflow = Workflow(name="import")
    for name, deps in {"extract": [], "load": ["extract"], "report": ["load"]}.items():
        workflow.add(name, noop.new(), deps=deps)
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(workflow)
    return workflow


@both_drivers
async def test_a_workflow_is_told_with_its_graph(engine: AsyncEngine, table: Table, ask: Any) -> None:
    workflow = await stored(engine)
    await table.scalar(
        f"UPDATE oban_jobs SET state = 'completed', attempted_at = {PAST}, completed_at = {PAST} "
        "WHERE workflow_name = 'extract' RETURNING 1"
    )
    found = await ask(details, workflow.id)
    told = found.summary
    assert told.jobs == {JobState.COMPLETED: 1, JobState.AVAILABLE: 1, JobState.SUSPENDED: 1}
    assert (told.name, told.state, told.ended, told.total, told.exact) == ("import", "executing", 1, 3, True)
    assert told.started_at < told.inserted_at < told.now
    assert told.ended_at is None
    assert [step.name for step in found.steps] == ["extract", "load", "report"]
    one, two, three = (step.id for step in found.steps)
    assert found.edges == ((one, two), (two, three))
    assert not found.cut


async def test_what_has_ended_is_called_by_its_worst_job(engine: AsyncEngine, table: Table, ask: Any) -> None:
    workflow = await stored(engine)
    await table.scalar("SELECT set_config('session_replication_role', 'replica', false)")
    await table.scalar(f"UPDATE oban_jobs SET state = 'completed', completed_at = {PAST} WHERE id > 0 RETURNING 1")
    told = await ask(summary, workflow.id)
    assert (told.live, told.state) == (False, "completed")
    await table.scalar(f"UPDATE oban_jobs SET state = 'cancelled', cancelled_at = {PAST} WHERE id = 1 RETURNING 1")
    assert (await ask(summary, workflow.id)).state == "cancelled"
    await table.scalar(f"UPDATE oban_jobs SET state = 'discarded', discarded_at = {PAST} WHERE id = 2 RETURNING 1")
    told = await ask(summary, workflow.id)
    assert (told.state, told.ended, told.ended_at is not None) == ("discarded", 3, True)


async def test_there_is_none(engine: AsyncEngine, ask: Any) -> None:
    for number in (-1, 0, 1, 2**63 - 1, 2**63, 10**30):
        assert await ask(details, number) is None
    assert (await ask(workflows)).workflows == ()


async def test_pages_follow_each_other(engine: AsyncEngine, ask: Any) -> None:
    ids = [(await stored(engine)).id for _ in range(5)]
    first = await ask(workflows, size=2)
    second = await ask(workflows, before=first.following, size=2)
    third = await ask(workflows, before=second.following, size=2)
    seen = [one.id for page in (first, second, third) for one in page.workflows]
    assert (seen, third.following) == (ids[::-1], None)
    assert (await ask(workflows, before=10**30, size=5)).workflows[0].id == ids[-1]


async def test_of_a_large_one_only_so_much_is_read(engine: AsyncEngine, table: Table, ask: Any) -> None:
    number = await large(table, 5_000)
    found = await ask(details, number)
    assert (found.summary.total, found.summary.exact) == (asking.COUNTED, False)
    assert (len(found.steps), found.cut) == (asking.MOST_JOBS, True)
    assert found.summary.state == "completed"
    await table.scalar("UPDATE oban_jobs SET state = 'available' WHERE workflow_name = 'job 999' RETURNING 1")
    assert (await ask(summary, number)).state == "executing"  # though it is none of those that are counted


async def test_its_statements_read_the_index_of_workflows(engine: AsyncEngine, table: Table) -> None:
    for _ in range(3):
        await large(table, 5_000)
    await table.connection.exec_driver_sql("ANALYZE oban_jobs, oban_workflows")
    assert "oban_jobs_workflow_index" in await table.plan(asking.STEPS, workflow="2")
    assert "oban_jobs_workflow_index" in await table.plan(asking.COUNTS, ids="'{1,2}'::bigint[]")
    assert "oban_jobs_live_workflow_index" in await table.plan(asking.PAGE, before="9", size="30")
