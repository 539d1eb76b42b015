"""What chains and batches cost jobs that have neither."""

from tests.queries.table import Table


async def test_no_trigger_of_a_row_is_called_for_jobs_without_chain_and_batch(table: Table) -> None:
    for _ in range(20):
        await table.add()
    plan = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
    for change in ("UPDATE oban_jobs SET state = 'executing'", "UPDATE oban_jobs SET state = 'completed'"):
        lines = [row[0] for row in await table.connection.exec_driver_sql(plan + change)]
        called = [line.split(":")[0].removeprefix("Trigger ") for line in lines if line.startswith("Trigger")]
        assert called == ["oban_jobs_batch_settle"]  # once: it looks at a setting
        assert [line for line in lines if "calls=" in line] == [line for line in lines if line.endswith("calls=1")]
