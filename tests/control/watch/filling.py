"""Tables with many jobs, and what a statement reads of them."""

import json
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import psycopg

from tests.queries.table import Table

FILL = """
    WITH made AS (
      INSERT INTO oban_jobs (worker, queue, state, attempt, scheduled_at, attempted_at, completed_at, discarded_at,
                             cancelled_at)
      SELECT 'w' || n % 3, 'q' || n % 5, s::oban_job_state, 1, m, m, m, m, m
      FROM generate_series(1, {rows}) n,
           LATERAL (SELECT timezone('UTC', clock_timestamp()) - n * interval '1 second' AS m) moment,
           unnest(enum_range(NULL::oban_job_state)) s RETURNING id)
    SELECT count(*) FROM made
"""


async def fill(table: Table, rows: int) -> None:
    await table.scalar("SELECT set_config('session_replication_role', 'replica', false)")
    await table.scalar(FILL.format(rows=rows))
    await table.connection.execute(text("ANALYZE oban_jobs"))


async def read(table: Table, statement: Any, **values: str) -> int:
    """The pages of the database that a statement touches, asked as `Reader` asks."""
    for way in ("seqscan", "bitmapscan"):
        await table.scalar(f"SELECT set_config('enable_{way}', 'off', false)")
    compiled = statement.compile(dialect=psycopg.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    compiled = str(compiled) % values if values else compiled
    sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled}"
    told = (await table.connection.exec_driver_sql(sql)).scalar_one()
    (explained,) = json.loads(told) if isinstance(told, str) else told
    return int(explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"])
