"""What a claim within limits reads does not grow with the number of partitions, nor with the jobs in them."""

import json

import pytest
from sqlalchemy.dialects.postgresql import psycopg

from sqla_oban.queries.limits import claim_within
from tests.queries.table import Table

pytestmark = pytest.mark.usefixtures("undisturbed")

DEMAND = 20
FILL = """
    INSERT INTO oban_jobs (worker, queue, args, partition)
    SELECT 'w', 'q', args, oban_partition(ARRAY['args', 'account'], 'w', args, '{{}}')
      FROM generate_series(1, {partitions}) account, generate_series(1, {each}),
           LATERAL jsonb_build_object('account', account) args
"""
LITERALS = {
    "of_runners": "'Oban'",
    "of_queue": "'q'",
    "demand": str(DEMAND),
    "holder": "ARRAY['n', 'p']",
    "after_priorities": "ARRAY[-1]",
    "after_moments": "ARRAY['-infinity']",
    "after_ids": "ARRAY[0]",
    "below": "ARRAY[32768]",
    "spec": "ARRAY['args', 'account']",
    "burst": "false",
    "most": "1",
    "has_wrapped": "false",
    "ids": "'{}'",
    "attempted_ats": "'{}'",
}
RATE = """'{"allowed": 1, "period": 3600, "algorithm": "sliding"}'"""


@pytest.fixture(params=["asyncpg"])
def driver(request: pytest.FixtureRequest) -> str:
    """The plan is PostgreSQL's, whoever asks for it."""
    return str(request.param)


async def buffers(table: Table, rate: str, lane: str = "''") -> int:
    """The pages that a claim of twenty jobs touches, in all of its statements; they stay claimed."""
    compiled = claim_within(None).compile(dialect=psycopg.dialect())  # type: ignore[attr-defined, no-untyped-call]
    literals = {**LITERALS, "rate": rate, "lane_from": lane, "lane_origin": lane}
    sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled}" % {**compiled.params, **literals}
    told = (await table.connection.exec_driver_sql(sql.replace("%", "%%"))).scalar_one()
    (explained,) = json.loads(told) if isinstance(told, str) else told
    plan = explained["Plan"]
    assert plan["Actual Rows"] == DEMAND + 1
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def fill(table: Table, partitions: int, each: int) -> None:
    await table.scalar("SELECT set_config('session_replication_role', 'replica', false)")
    await table.connection.exec_driver_sql("TRUNCATE oban_jobs, oban_rates")
    await table.connection.exec_driver_sql(FILL.format(partitions=partitions, each=each))


@pytest.mark.parametrize(
    ("partitions", "each", "rate"),
    [(100_000, 1, "NULL"), (100_000, 1, RATE), (30, 2_000, "NULL")],
    ids=["many", "many with a rate", "long"],
)
async def test_a_claim_reads_as_much_with_a_hundred_thousand_partitions_as_with_thirty(
    partitions: int, each: int, rate: str, table: Table
) -> None:
    await fill(table, 30, 1)
    await buffers(table, rate)  # what is read once a session
    await fill(table, 30, 1)
    few = await buffers(table, rate)
    await fill(table, partitions, each)
    before = await buffers(table, rate)
    await table.connection.exec_driver_sql("ANALYZE oban_jobs")
    await table.connection.exec_driver_sql("UPDATE oban_jobs SET state = 'completed' WHERE state = 'executing'")
    after = await buffers(table, rate, lane='\'["args", "account"]20\'')
    assert max(before, after) <= 3 * few  # the indexes are two levels higher
