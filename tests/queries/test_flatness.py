"""What a claim reads does not grow with the table, nor with the dead entries in front of its index."""

import json
from collections.abc import Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.ack import ACK, Ack, parameters
from sqla_oban.queries.claim import CLAIM, END, START, Key
from tests.queries.table import Table

pytestmark = pytest.mark.usefixtures("undisturbed")

DEMAND = 20
FILL = """
    WITH made AS (
      INSERT INTO oban_jobs (worker, queue, state, attempted_at, completed_at, priority)
      SELECT 'w', 'q' || n % 2, (CASE WHEN n % 4 < 2 THEN 'available' ELSE 'completed' END)::oban_job_state,
             CASE WHEN n % 4 >= 2 THEN now() END, CASE WHEN n % 4 >= 2 THEN now() END, n % 2
      FROM generate_series(1, {rows}) n RETURNING id)
    SELECT count(*) FROM made
"""
LITERALS = {"of_queue": "'q1'", "demand": str(DEMAND), "holder": "ARRAY['n', 'p']"}


@pytest.fixture(params=["asyncpg"])
def driver(request: pytest.FixtureRequest) -> str:
    """The plan is PostgreSQL's, whoever asks for it."""
    return str(request.param)


async def buffers(table: Table, keys: Sequence[Key] = (START,)) -> int:
    """The pages that a claim of twenty jobs touches; they stay claimed."""
    compiled = CLAIM.compile(dialect=psycopg.dialect())  # type: ignore[attr-defined, no-untyped-call]
    literals = {
        **LITERALS,
        "after_priorities": f"ARRAY{[key.priority for key in keys]}",
        "after_moments": f"ARRAY{[key.scheduled_at for key in keys]}",
        "after_ids": f"ARRAY{[key.id for key in keys]}",
        "below": f"ARRAY{[*(key.priority for key in keys[1:]), END]}",
    }
    sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled}" % {**compiled.params, **literals}
    told = (await table.connection.exec_driver_sql(sql)).scalar_one()
    (explained,) = json.loads(told) if isinstance(told, str) else told
    plan = explained["Plan"]
    assert plan["Actual Rows"] == DEMAND
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def fill(table: Table, rows: int) -> None:
    await table.scalar("SELECT set_config('session_replication_role', 'replica', false)")
    await table.scalar(FILL.format(rows=rows))


@pytest.mark.parametrize("rows", [1_000, 1_000_000])
async def test_a_claim_reads_as_much_of_a_million_rows_as_of_a_thousand(rows: int, table: Table) -> None:
    await fill(table, 100)
    few = await buffers(table)
    await fill(table, rows)
    before = await buffers(table)
    await table.connection.execute(text("ANALYZE oban_jobs"))
    after = await buffers(table)
    assert max(before, after) <= 2 * few  # the indexes are two levels higher, and there are several


async def test_what_was_claimed_before_costs_nothing_even_where_no_vacuum_can_remove_it(
    table: Table, engine: AsyncEngine
) -> None:
    await fill(table, 30_000)
    await table.connection.execute(text("ANALYZE oban_jobs"))
    async with engine.connect() as holder:
        await holder.execution_options(isolation_level="REPEATABLE READ")
        await holder.execute(text("SELECT count(*) FROM oban_jobs"))
        fresh = await buffers(table)
        keys = [START]
        for _ in range(4):
            claimed = await table.claim(1_500, "q1", keys)
            await table.run(ACK, **parameters([Ack(one.id, one.attempted_at, JobState.COMPLETED) for one in claimed]))
            last = max(claimed, key=lambda one: (one.priority, one.scheduled_at, one.id))
            keys = [START, Key.of(last)]
        onwards, from_start = await buffers(table, keys), await buffers(table)
    assert onwards <= 1.5 * fresh
    assert from_start > 2 * onwards  # or what is tested would be no feat
