"""What the features cost jobs that use none of them."""

import pytest

from tests.queries.table import Table

CALLED = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE oban_jobs SET state = 'executing'",
        "UPDATE oban_jobs SET state = 'completed'",
        "DELETE FROM oban_jobs",
    ],
)
@pytest.mark.parametrize("feature", ["none", "chain"])
async def test_no_trigger_is_called_for_jobs_without_features(table: Table, change: str, feature: str) -> None:
    for number in range(20):
        await table.add(**({"chain_key": f"'{number}'"} if feature == "chain" else {}))
    lines = [row[0] for row in await table.connection.exec_driver_sql(CALLED + change)]
    called = [line for line in lines if line.startswith("Trigger oban_jobs")]
    assert bool(called) is (feature == "chain"), called


async def test_what_a_job_is_made_of_says_whether_it_uses_a_feature(table: Table) -> None:
    for said in ({}, {"chain_key": "'a'"}, {"unique_key": "'b'"}, {"partition": "'c'"}):
        await table.add(**said)
    features = "SELECT featured FROM oban_jobs ORDER BY id"
    assert (await table.connection.exec_driver_sql(features)).scalars().all() == [None, True, True, True]
    later = "UPDATE oban_jobs SET awaited_until = now() WHERE featured IS NULL"
    await table.connection.exec_driver_sql(later)
    assert (await table.connection.exec_driver_sql(features)).scalars().all() == [True, True, True, True]
