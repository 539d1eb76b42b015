"""The mark of a cancellation, and how those honour it who write the end of an execution."""

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Job, JobState
from sqla_oban.queries.ack import ACK, Ack, parameters
from sqla_oban.queries.cancel import cancel
from sqla_oban.queries.claim import Claimed
from sqla_oban.queries.release import release
from sqla_oban.queries.rescue import rescue
from sqla_oban.queries.stage import stage
from tests.queries.table import FUTURE, PAST, Table, ago

ENDED = {"completed_at", "discarded_at", "cancelled_at"}
CANCEL, RELEASE, RESCUE, STAGE = (
    cancel(select(Job).where(Job.id > 0).with_only_columns(Job.id), None),
    *(make(None) for make in (release, rescue, stage)),
)


async def executing(table: Table, *, requested: bool = True, **columns: str) -> Claimed:
    """A claimed job, whose cancellation was requested."""
    await table.add(**columns)
    (row,) = await table.claim()
    if requested:
        assert [one[0] for one in await table.run(CANCEL)] == [row.id]
    return row


async def do(table: Table, sql: str) -> None:
    await table.connection.exec_driver_sql(sql)


async def doomed(table: Table, *producers: str) -> list[list[int]]:
    asked = {"limit": 10, "aside": [], "asleep": [], "producers": list(producers), "horizon": 1.0}
    return list((await table.run(STAGE, **asked))[0].doomed)


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.RETRYABLE, JobState.DISCARDED, JobState.SCHEDULED])
async def test_whatever_the_outcome_the_job_ends_cancelled(state: JobState, table: Table) -> None:
    row = await executing(table, scheduled_at="'2020-01-01'")
    outcome = Ack(row.id, row.attempted_at, state, delay=60.0, error="why", meta='{"kept": 1}')
    assert len(await table.run(ACK, **parameters([outcome]))) == 1
    written = (await table.job(row.id))._mapping
    assert (written["state"], written["attempt"], written["scheduled_at"].year) == ("cancelled", 1, 2020)
    assert {name for name in ENDED if written[name] is not None} == {"cancelled_at"}
    assert [error["error"] for error in written["errors"]] == ["why"]
    assert written["meta"]["kept"] == 1


async def test_a_release_and_a_rescue_end_it_as_well(table: Table) -> None:
    for statement, asked in (
        (RELEASE, {"producer": "me", "keep": [], "only": None}),
        (RESCUE, {"batch": 10, "grace": 1.0, "rescue_after": 1e-9, "aside": []}),
    ):
        row, other = await executing(table), await executing(table, requested=False)
        assert len(await table.run(statement, **asked)) == 2
        written = await table.job(row.id)
        assert (written.state, written.cancelled_at is not None, written.discarded_at) == ("cancelled", True, None)
        unmarked = await table.job(other.id)
        assert (unmarked.state, unmarked.cancelled_at) == ("available", None)
        await do(table, "TRUNCATE oban_jobs")


async def test_an_exhausted_orphan_is_cancelled_not_discarded(table: Table) -> None:
    row = await executing(table, max_attempts="1")
    await table.run(RESCUE, batch=10, grace=1.0, rescue_after=1e-9, aside=[])
    written = await table.job(row.id)
    assert (written.state, written.discarded_at) == ("cancelled", None)


async def test_the_mark_of_an_earlier_execution_is_void(table: Table) -> None:
    row = await executing(table)
    await do(table, f"UPDATE oban_jobs SET state = 'available' WHERE id = {row.id}")  # as another library rescues
    (again,) = await table.claim()
    assert await doomed(table, "me") == []
    await table.run(ACK, **parameters([Ack(again.id, again.attempted_at, JobState.COMPLETED)]))
    assert (await table.job(row.id)).state == "completed"


async def test_the_stager_finds_marked_jobs_of_its_own_producers(table: Table) -> None:
    row, _ = await executing(table), await executing(table, requested=False)
    assert await doomed(table, "me") == [[row.id, 1]]
    assert await doomed(table, "another", "me") == [[row.id, 1]]
    assert await doomed(table, "another") == []
    assert await doomed(table) == []


async def test_a_mark_does_not_depend_on_the_settings_of_the_session(table: Table) -> None:
    await table.scalar("SELECT set_config('datestyle', 'SQL, DMY', false), set_config('timezone', 'Asia/Tokyo', false)")
    await executing(table)
    await table.scalar("SELECT set_config('datestyle', 'ISO', false), set_config('timezone', 'UTC', false)")
    assert len(await doomed(table, "me")) == 1


@pytest.mark.parametrize("attempted_at", ["NULL", "'infinity'", "'-infinity'", "'20000-01-01'", PAST])
@pytest.mark.parametrize("meta", ["'{}'", "'[]'", "'7'", "'null'", """'{"cancel_requested": "soon"}'"""])
async def test_no_row_that_the_database_accepts_breaks_it(attempted_at: str, meta: str, table: Table) -> None:
    job_id = await table.add_executing("me", attempted_at=attempted_at, meta=meta)
    assert [row[0] for row in await table.run(CANCEL)] == [job_id]
    await doomed(table, "me")
    await table.run(RELEASE, producer="me", keep=[], only=None)
    assert await table.scalar("SELECT CAST(state AS text) FROM oban_jobs") in {"cancelled", "available"}


async def test_a_cancelled_job_is_not_staged_later(table: Table) -> None:
    scheduled = await table.add(state="'scheduled'", scheduled_at=FUTURE)
    await table.run(CANCEL)
    await do(table, f"UPDATE oban_jobs SET scheduled_at = {ago(5)}")
    await doomed(table)
    assert (await table.job(scheduled)).state == "cancelled"


async def test_jobs_that_another_locks_are_waited_for(table: Table, engine: AsyncEngine) -> None:
    """A claim that is under way is not passed over: its jobs are marked as soon as it has committed."""
    await table.add()
    async with engine.connect() as other:
        claimer = Table(other)
        await claimer.claim()
        await table.scalar("SELECT set_config('lock_timeout', '50ms', false)")
        with pytest.raises(Exception, match="lock timeout"):
            await table.run(CANCEL)
        await other.commit()
    assert len(await table.run(CANCEL)) == 1
    assert len(await doomed(table, "me")) == 1


async def test_the_plan_for_marked_jobs_reads_only_their_index(table: Table) -> None:
    await do(
        table,
        "INSERT INTO oban_jobs (worker, state, attempted_at, attempted_by) SELECT 'w', 'executing', "
        "timezone('UTC', now()), ARRAY['node', 'me'] FROM generate_series(1, 5000)",
    )
    await do(table, "ANALYZE oban_jobs")
    plan = await table.plan(
        STAGE, limit="100", aside="ARRAY[]::bigint[]", asleep="ARRAY['a']", producers="ARRAY['me']", horizon="1"
    )
    assert "oban_jobs_cancel_index" in plan
