from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.queries.ack import ACK, COMPLETE, Ack, parameters
from tests.queries.table import Table

ENDED = {"completed_at", "discarded_at", "cancelled_at"}


async def claimed(table: Table, **columns: str) -> tuple[int, datetime]:
    """A job that is executing; its id and the moment of its attempt."""
    job_id = await table.add(**columns)
    (row,) = await table.claim()
    return job_id, row.attempted_at


async def write(table: Table, *acks: Ack) -> list[int]:
    return sorted(row[0] for row in await table.run(ACK, **parameters(acks)))


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        (JobState.COMPLETED, {"completed_at"}),
        (JobState.DISCARDED, {"discarded_at"}),
        (JobState.CANCELLED, {"cancelled_at"}),
        (JobState.RETRYABLE, set()),
        (JobState.SCHEDULED, set()),
    ],
)
async def test_an_end_is_written_with_its_moment(state: JobState, ended: set[str], table: Table) -> None:
    job_id, at = await claimed(table)
    assert await write(table, Ack(job_id, at, state)) == [job_id]
    row = (await table.job(job_id))._mapping
    assert row["state"] == state
    assert {name for name in ENDED if row[name] is not None} == ended
    assert (row["attempt"], row["errors"]) == (1, [])


async def test_many_outcomes_are_written_at_once(table: Table) -> None:
    for _ in range(50):
        await table.add()
    rows = await table.claim(demand=50)
    states = [JobState.COMPLETED, JobState.RETRYABLE, JobState.CANCELLED, JobState.DISCARDED, JobState.SCHEDULED]
    acks = [Ack(row.id, row.attempted_at, states[row.id % 5], delay=row.id % 2 or None) for row in reversed(rows)]
    assert await write(table, *acks) == [row.id for row in rows]
    assert await table.states() == {ack.id: ack.state for ack in acks}


async def test_nothing_is_written_for_another_attempt(table: Table) -> None:
    job_id, at = await claimed(table)
    await table.scalar("UPDATE oban_jobs SET state = 'available' RETURNING id")
    await table.claim()
    before = await table.job(job_id)
    assert await write(table, Ack(job_id, at, JobState.COMPLETED)) == []
    assert await write(table, Ack(job_id, at + timedelta(microseconds=1), JobState.COMPLETED)) == []
    assert await table.job(job_id) == before


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.EXECUTING])
async def test_nothing_is_written_when_the_job_is_no_longer_executing(state: JobState, table: Table) -> None:
    job_id, at = await claimed(table)
    await table.scalar(f"UPDATE oban_jobs SET state = '{state}' RETURNING id")
    before = await table.job(job_id)
    assert await write(table, Ack(job_id, at, JobState.COMPLETED, error="late")) == []
    assert await table.job(job_id) == before


async def test_an_outcome_that_is_sent_twice_counts_once(table: Table) -> None:
    job_id, at = await claimed(table)
    ack = Ack(job_id, at, JobState.RETRYABLE, delay=5, error="x")
    assert [await write(table, ack), await write(table, ack)] == [[job_id], []]
    assert len((await table.job(job_id)).errors) == 1


async def test_an_error_is_added_to_those_before_in_the_form_of_oban(table: Table) -> None:
    job_id, at = await claimed(table, attempt="2", errors="'[{\"attempt\": 1}]'")
    error = "Traceback: 'quoted' \"Ü\" %s :x \\ \n"
    await write(table, Ack(job_id, at, JobState.RETRYABLE, delay=5, error=error))
    first, second = (await table.job(job_id)).errors
    assert first == {"attempt": 1}
    assert (second["attempt"], second["error"], set(second)) == (3, error, {"at", "attempt", "error"})
    assert abs(datetime.fromisoformat(second["at"]) - datetime.fromisoformat(f"{at}+00:00")) < timedelta(hours=1)


@pytest.mark.parametrize(("delay", "seconds"), [(0.0, 0.0), (0.5, 0.5), (3_600.0, 3_600.0)])
async def test_a_delay_is_counted_from_the_clock_of_the_database(delay: float, seconds: float, table: Table) -> None:
    job_id, at = await claimed(table, scheduled_at="'2020-01-01'")
    before = await table.scalar("SELECT timezone('UTC', clock_timestamp())")
    await write(table, Ack(job_id, at, JobState.RETRYABLE, delay=delay))
    after = await table.scalar("SELECT timezone('UTC', clock_timestamp())")
    due = (await table.job(job_id)).scheduled_at - timedelta(seconds=seconds)
    assert before <= due <= after


async def test_without_a_delay_the_time_of_the_job_stays(table: Table) -> None:
    job_id, at = await claimed(table, scheduled_at="'2020-01-01'")
    await write(table, Ack(job_id, at, JobState.COMPLETED))
    assert (await table.job(job_id)).scheduled_at == datetime(2020, 1, 1)  # noqa: DTZ001 (as the column holds it)


@pytest.mark.parametrize(("attempt", "left"), [("0", 0), ("4", 4)])
async def test_a_refund_gives_the_attempt_back(attempt: str, left: int, table: Table) -> None:
    job_id, at = await claimed(table, attempt=attempt)
    await write(table, Ack(job_id, at, JobState.SCHEDULED, delay=5, refund=True))
    assert (await table.job(job_id)).attempt == left


async def test_a_refund_never_goes_below_zero(table: Table) -> None:
    job_id, at = await claimed(table)
    await table.scalar("UPDATE oban_jobs SET attempt = 0 RETURNING id")
    assert await write(table, Ack(job_id, at, JobState.SCHEDULED, delay=5, refund=True)) == [job_id]
    assert (await table.job(job_id)).attempt == 0


@pytest.mark.parametrize(
    ("meta", "after"),
    [
        ("{}", {"snoozed": 1}),
        ('{"snoozed": 4, "a": [1]}', {"snoozed": 5, "a": [1]}),
        ('{"snoozed": "x"}', {"snoozed": 1}),
        ('{"snoozed": null}', {"snoozed": 1}),
        ("[]", {"snoozed": 1}),
        ("5", {"snoozed": 1}),
    ],
)
async def test_snoozes_are_counted_in_any_meta(meta: str, after: Any, table: Table) -> None:
    job_id, at = await claimed(table, meta=f"'{meta}'")
    await write(table, Ack(job_id, at, JobState.SCHEDULED, delay=5))
    assert (await table.job(job_id)).meta == after


async def test_what_is_no_snooze_is_not_counted(table: Table) -> None:
    job_id, at = await claimed(table, meta="'{\"snoozed\": 4}'")
    await write(table, Ack(job_id, at, JobState.RETRYABLE, delay=5))
    assert (await table.job(job_id)).meta == {"snoozed": 4}


async def test_a_job_of_a_foreign_moment_can_be_acknowledged(table: Table) -> None:
    job_id, at = await claimed(table, scheduled_at="'infinity'", inserted_at="'20000-01-01'", errors="'{}'")
    assert await write(table, Ack(job_id, at, JobState.COMPLETED, error="x")) == [job_id]


def test_outcomes_are_sorted_by_id_so_that_two_writers_cannot_deadlock() -> None:
    at = datetime(2026, 1, 1)  # noqa: DTZ001 (as the claim returns it)
    acks = [
        Ack(3, at, JobState.COMPLETED),
        Ack(1, at, JobState.SCHEDULED, delay=5, refund=True),
        Ack(2, at, JobState.DISCARDED, error="x"),
    ]
    assert parameters(acks) == {
        "ids": [1, 2, 3],
        "attempted_ats": [at, at, at],
        "states": ["scheduled", "discarded", "completed"],
        "delays": [5, None, None],
        "errors": [None, "x", None],
        "refunds": [1, 0, 0],
        "metas": [],
    }


async def test_what_no_outcome_says_is_not_sent_and_means_completed(table: Table) -> None:
    at = [await claimed(table) for _ in range(2)]
    acks = [Ack(*one, JobState.COMPLETED) for one in at]
    assert {name for name, values in parameters(acks).items() if values} == {"ids", "attempted_ats"}
    assert await write(table, *acks) == [ack.id for ack in acks]
    assert set((await table.states()).values()) == {JobState.COMPLETED}


@pytest.mark.parametrize("meta", ["'{}'", "'[]'", "'7'", "'null'"])
async def test_jobs_that_just_complete_are_written_by_a_shorter_statement(meta: str, table: Table) -> None:
    job_id, at = await claimed(table, meta=meta, priority="9")
    await table.run(COMPLETE, **parameters([Ack(job_id, at, JobState.COMPLETED)]))
    short = (await table.job(job_id))._mapping
    await table.scalar("UPDATE oban_jobs SET state = 'executing', completed_at = NULL RETURNING id")
    assert await write(table, Ack(job_id, at, JobState.COMPLETED)) == [job_id]
    long = (await table.job(job_id))._mapping
    assert short["completed_at"] is not None
    assert {**long, "completed_at": None} == {**short, "completed_at": None}


async def test_it_leaves_what_is_not_so_simple(table: Table, engine: AsyncEngine) -> None:
    late, locked, cancelled, simple = [await claimed(table) for _ in range(4)]
    await table.scalar(
        f"UPDATE oban_jobs SET meta = '{{\"cancel_requested\": 1}}' WHERE id = {cancelled[0]} RETURNING 1"
    )
    await table.connection.commit()
    async with engine.connect() as other:
        await Table(other).scalar(f"SELECT id FROM oban_jobs WHERE id = {locked[0]} FOR UPDATE")
        acks = [Ack(*one, JobState.COMPLETED) for one in (locked, cancelled, simple)]
        acks.append(Ack(late[0], late[1] - timedelta(seconds=1), JobState.COMPLETED))
        assert [row[0] for row in await table.run(COMPLETE, **parameters(acks))] == [simple[0]]


@pytest.mark.parametrize(
    "more", [{"delay": 1.0}, {"error": "x"}, {"refund": True}, {"meta": "{}"}, {"state": JobState.CANCELLED}]
)
def test_an_outcome_of_which_more_is_to_be_said_does_not_just_complete(more: dict[str, Any]) -> None:
    plain = Ack(1, datetime(2026, 1, 1), JobState.COMPLETED)  # noqa: DTZ001 (as the claim returns it)
    assert plain.just_completes
    assert not plain._replace(**more).just_completes


@pytest.mark.parametrize("statement", [ACK, COMPLETE], ids=["ack", "complete"])
async def test_rows_are_found_by_their_key_however_few_the_planner_believes_to_execute(
    statement: Any, table: Table
) -> None:
    """It knows the length of the arrays, and nothing of how many jobs execute since it last looked at the table."""
    await table.connection.exec_driver_sql("INSERT INTO oban_jobs (worker) SELECT 'w' FROM generate_series(1, 2000)")
    await table.connection.exec_driver_sql("ANALYZE oban_jobs")
    ids = f"'{{{','.join(map(str, range(1, 501)))}}}'::bigint[]"
    moments = f"'{{{','.join(['2026-11-30'] * 500)}}}'::timestamp[]"
    empty = dict.fromkeys(("states", "delays", "errors", "refunds", "metas"), "'{}'")
    plan = await table.plan(statement, **empty, ids=ids, attempted_ats=moments)
    found = plan[plan.index("CTE held") : plan.rindex("CTE Scan on held")]
    assert "Index Scan using oban_jobs_pkey" in found
    assert "Seq Scan on oban_jobs oban_jobs_1" not in found
