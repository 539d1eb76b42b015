"""What the dashboard asks of jobs, queues, nodes and the crontab, beside looking through jobs."""

import json
from datetime import UTC
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState, SqlaOban
from sqla_oban.control.watch import counting
from sqla_oban.control.watch.activity import activity, failing
from sqla_oban.control.watch.counting import Count, count, matching, waiting
from sqla_oban.control.watch.crontab import crontab
from sqla_oban.control.watch.details import runs_of, show
from sqla_oban.control.watch.fleet import fleet, queues
from sqla_oban.control.watch.reader import Reader
from sqla_oban.control.watch.walking import Step, newest, step
from sqla_oban.errors import TooSlow
from sqla_oban.migrations import downgrade, migrate
from sqla_oban.models import Scope
from sqla_oban.queries import activity as activity_queries
from sqla_oban.queries import browse as browse_queries
from sqla_oban.queries import count as count_queries
from sqla_oban.queries.activity import BACKLOG, FAILING, FINISHED, TAKEN
from sqla_oban.queries.browse import WINDOW
from sqla_oban.queries.count import WAITING_BY_QUEUE
from sqla_oban.queries.filters import JobFilter
from sqla_oban.queries.show import CRON_RUNS, RUNS_OF_WORKER
from tests.control.watch.filling import fill, read
from tests.queries.table import Table, ago
from tests.shop import noop
from tests.support import both_drivers


async def add_many(table: Table, number: int, **columns: str) -> None:
    given = {"worker": "'w'", **columns}
    await table.scalar("SELECT set_config('session_replication_role', 'replica', false)")
    await table.scalar(
        f"WITH made AS (INSERT INTO oban_jobs ({', '.join(given)}) "
        f"SELECT {', '.join(given.values())} FROM generate_series(1, {number}) n RETURNING 1) SELECT count(*) FROM made"
    )


@both_drivers
async def test_a_question_that_takes_too_long_is_ended_and_one_that_writes_is_refused(engine: AsyncEngine) -> None:
    reader = Reader(engine, Scope(), timeout=0.05)
    with pytest.raises(TooSlow, match=r"longer than 0\.05 seconds"):
        await reader.ask(lambda session: session.execute(text("SELECT pg_sleep(10)")))
    reader = Reader(engine, Scope(), timeout=30)
    with pytest.raises(Exception, match="read-only transaction"):
        await reader.ask(lambda session: session.execute(text("DELETE FROM oban_jobs")))
    assert await reader.ask(lambda session: session.scalar(text("SELECT 1"))) == 1


async def test_it_looks_in_the_schema_of_the_runner(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA elsewhere"))
        await connection.run_sync(migrate, schema="elsewhere")
        await connection.execute(text("INSERT INTO elsewhere.oban_jobs (worker) VALUES ('w')"))
    try:
        counts = await Reader(engine, Scope(schema="elsewhere"), timeout=30).ask(count)
        assert counts[JobState.AVAILABLE] == Count(1)
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(downgrade, schema="elsewhere")
            await connection.execute(text("DROP SCHEMA elsewhere CASCADE"))


async def test_few_jobs_are_counted(table: Table, ask: Any) -> None:
    assert await ask(count) == dict.fromkeys(JobState, Count(0))
    await add_many(table, 3)
    await add_many(table, 2, state="'retryable'")
    counts = await ask(count)
    assert (counts[JobState.AVAILABLE], counts[JobState.RETRYABLE]) == (Count(3), Count(2))


@pytest.mark.usefixtures("undisturbed")
async def test_many_jobs_are_estimated(table: Table, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "EXACTLY", 50)
    monkeypatch.setattr(count_queries, "EXACTLY", 50)
    counting._counts.cache_clear()
    await table.connection.execute(text("TRUNCATE oban_jobs"))  # with what is believed of its rows
    await add_many(table, 200, state="'completed'", completed_at=ago(1))
    await add_many(table, 100, state="'retryable'")
    await add_many(table, 3)
    found = await ask(count)
    assert found[JobState.COMPLETED] == Count(51, exact=False)  # nobody has analysed the table
    await table.connection.execute(text("ANALYZE oban_jobs"))
    found = await ask(count)
    assert found[JobState.COMPLETED] == Count(200, exact=False)
    assert found[JobState.AVAILABLE] == Count(3)
    counting._counts.cache_clear()


async def test_those_that_pass_a_filter_are_counted_or_estimated(
    table: Table, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_many(table, 200, state="'completed'", completed_at=ago(1))
    await add_many(table, 30, queue="'a'")
    await table.connection.execute(text("ANALYZE oban_jobs"))
    both = (JobState.AVAILABLE, JobState.COMPLETED)
    assert await ask(matching, JobFilter()) == Count(230)
    assert await ask(matching, JobFilter(queues=("a",), states=both)) == Count(30)
    monkeypatch.setattr(counting, "EXACTLY", 49)
    assert await ask(matching, JobFilter(states=both)) == Count(230, exact=False)
    assert await ask(matching, JobFilter(queues=("a",), states=both)) == Count(30, exact=False)
    assert str(await ask(matching, JobFilter())) == "about 230"


async def test_a_walk_passes_every_job_once(table: Table, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse_queries, "WINDOW", 4)
    await add_many(table, 9, queue="'a'")
    upto = await ask(newest)
    await add_many(table, 3, queue="'b'")
    await add_many(table, 1, queue="'a'")
    for wanted, expected in ((JobFilter(), 9), (JobFilter(queues=("a",)), 9), (JobFilter(queues=("b",)), 0)):
        found: list[int] = []
        taken = Step((), 0)
        while taken.last is not None:
            taken = await ask(step, wanted, after=taken.last, upto=upto)
            found += taken.ids
        assert found == sorted(set(found))
        assert len(found) == expected


async def test_jobs_that_wait_are_counted_by_queue(table: Table, ask: Any) -> None:
    await add_many(table, 3, queue="'a'")
    await add_many(table, 5_002, queue="'b'")
    await add_many(table, 1, queue="'c'", state="'scheduled'")
    assert await ask(waiting) == {"a": Count(3), "b": Count(5_000, exact=False)}


async def test_activity_tells_how_jobs_ended_and_how_long_they_took(table: Table, ask: Any) -> None:
    done = {"state": "'completed'", "scheduled_at": ago(40), "inserted_at": ago(50), "attempted_at": ago(30)}
    await add_many(table, 3, **done, completed_at=ago(20))
    await add_many(table, 1, state="'discarded'", discarded_at=ago(10), attempted_at=ago(10))
    await add_many(table, 2, state="'retryable'", attempted_at=ago(10))
    await add_many(table, 1, state="'completed'", completed_at=ago(4_000))
    found = await ask(activity, span=3_600, width=60)
    assert found.totals == {
        JobState.COMPLETED: 3, JobState.DISCARDED: 1, JobState.CANCELLED: 0, JobState.RETRYABLE: 2
    }  # fmt: skip
    assert found.ran.p50 == pytest.approx(10, abs=1)
    assert found.waited.p95 == pytest.approx(10, abs=1)
    assert len(found.buckets) == 60
    assert sum(bucket.jobs[JobState.COMPLETED] for bucket in found.buckets) == 3
    assert all(bucket.known for bucket in found.buckets)


async def test_the_backlog_is_how_many_waited_at_a_time(table: Table, ask: Any) -> None:
    await add_many(table, 4, scheduled_at=ago(1_000), inserted_at=ago(1_000))
    await add_many(
        table, 6, state="'completed'", scheduled_at=ago(1_500), inserted_at=ago(1_500), attempted_at=ago(500),
        completed_at=ago(499),
    )  # fmt: skip
    depths = [bucket.backlog for bucket in (await ask(activity, span=2_400, width=60)).buckets]
    assert (depths[0], max(depths), depths[-1]) == (0, 10, 4)


async def test_a_busy_queue_is_told_by_its_newest_jobs(table: Table, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await add_many(table, 20_000, state="'completed'", attempted_at=ago(100), completed_at=ago(100))
    await add_many(table, 10, state="'completed'", attempted_at=ago(3_000), completed_at=ago(3_000))
    found = await ask(activity, span=3_600, width=60)
    assert found.totals[JobState.COMPLETED] == activity_queries.MOST
    spans = "SELECT ARRAY[min(completed_at), max(completed_at)] FROM oban_jobs WHERE id <= 20000"
    oldest, newest = (one.replace(tzinfo=UTC).timestamp() for one in await table.scalar(spans))
    assert oldest - 1 <= found.since <= newest + 1
    assert [bucket.known for bucket in found.buckets].count(False) > 50
    await add_many(table, 20_001)
    assert {bucket.backlog for bucket in (await ask(activity, span=3_600, width=60)).buckets} == {None}


async def test_failures_are_gathered_by_worker_and_by_what_was_wrong(table: Table, ask: Any) -> None:
    errors = """'[{"at": "x", "attempt": 1, "error": "ValueError: no\\nTraceback"}]'"""
    await add_many(table, 2, state="'discarded'", discarded_at=ago(5), attempted_at=ago(5), errors=errors)
    await add_many(table, 3, state="'retryable'", attempted_at=ago(3), errors=errors)
    await add_many(table, 1, state="'retryable'", attempted_at=ago(1), errors="'{}'", worker="'odd'")
    (group,) = await ask(failing)
    assert (group.worker, group.line, group.jobs, group.discarded) == ("w", "ValueError: no", 5, 2)


async def test_a_job_is_shown_whatever_is_in_it(table: Table, ask: Any) -> None:
    number = "9" * 5_000
    odd = await table.add(args=f"""'{{"n": {number}}}'""", errors='\'[7, {"error": "x"}]\'', meta="'\"m\"'")
    big = await table.add(args="jsonb_build_object('blob', repeat('x', 1000000))", scheduled_at="'20000-01-01'")
    shown = await ask(show, odd)
    assert [one.text for one in shown.failures] == ["x", "7"]
    with pytest.raises(ValueError, match="4300"):
        shown.args.value()
    shown = await ask(show, big)
    assert (shown.args.is_whole, shown.args.length > 1_000_000, len(shown.args.text)) == (False, True, 100_000)
    assert await ask(show, 2**70) is None
    assert await ask(show, -1) is None


async def test_the_newest_jobs_of_a_worker(table: Table, ask: Any) -> None:
    ids = [
        await table.add(worker="'a'", state="'completed'", attempted_at=ago(9), completed_at=ago(7)) for _ in range(3)
    ]
    await table.add(worker="'b'")
    runs = await ask(runs_of, "a")
    assert [run.id for run in runs] == ids
    assert runs[0].ran == pytest.approx(2, abs=0.5)


async def test_the_fleet_are_all_producers_and_leaders(table: Table, ask: Any) -> None:
    meta = json.dumps({"ttl": 60, "local_limit": 5, "running": 2, "paused": True})
    await table.add_producer(beaten=ago(1), meta=meta)
    await table.add_producer(beaten=ago(999), meta='{"local_limit": "lots", "running": -1}')
    await table.scalar(
        f"INSERT INTO oban_peers VALUES ('oban', 'node', {ago(9)}, {ago(-600)}), ('old', 'n', {ago(9)}, {ago(5)}) "
        "RETURNING 1"
    )
    found = await ask(fleet)
    alive = {one.alive: one for one in found.stations}
    assert (alive[True].limit, alive[True].running, alive[True].paused, alive[True].ours) == (5, 2, True, True)
    assert (alive[False].limit, alive[False].running, alive[False].ours) == (None, None, False)
    assert [(one.name, one.left > 0) for one in found.leases] == [("oban", True), ("old", False)]


async def test_queues_are_those_that_run_those_that_have_work_and_those_that_something_was_said_of(
    engine: AsyncEngine, table: Table, ask: Any
) -> None:
    await add_many(table, 2, queue="'waiting'")
    oban = SqlaOban(engine, name="oban")
    await oban.queues.pause("kept")
    await table.add_producer(beaten=ago(1), meta='{"ttl": 60, "local_limit": 5, "running": 2}')
    found = {one.queue: one for one in await ask(queues, name="oban")}
    assert set(found) == {"default", "kept", "waiting"}
    assert (found["default"].limit, found["default"].running) == (5, 2)
    assert found["kept"].kept_paused
    assert found["waiting"].waiting == Count(2)
    await oban.queues.pause("*")
    assert all(one.kept_paused for one in await ask(queues, name="oban"))


async def test_the_crontab_with_what_comes_next(engine: AsyncEngine, table: Table, ask: Any) -> None:
    oban = SqlaOban(engine)
    await oban.crons.create("nightly", "30 2 * * *", noop.new(), timezone="Europe/Berlin")
    await oban.crons.create("paused", "@hourly", noop.new())
    await oban.crons.pause("paused")
    await table.scalar(
        "INSERT INTO oban_crons (name, expression, worker) VALUES ('wrong', '99 * * * *', 'w') RETURNING 1"
    )
    made = await table.add(meta="""'{"cron_name": "nightly"}'""")
    nightly, paused, wrong = await ask(crontab, timezone="UTC")
    assert nightly.words == "At 02:30 every day"
    assert len(nightly.following) == 3
    assert nightly.following[0] > nightly.now
    assert [run.id for run in nightly.runs] == [made]
    assert paused.following == ()
    assert "99" in (wrong.wrong or "")


async def test_what_the_pages_ask_is_bounded(table: Table) -> None:
    """Each statement stops at a number of jobs, found by an index: a page of the database a job, at the most."""
    given, most = {"span": 86_400.0, "width": 60.0}, activity_queries.MOST
    read_at_most = activity_queries.READ
    bounds: dict[Any, int] = {
        FINISHED.params(**given): 3 * most + read_at_most,
        TAKEN.params(**given): 1_441 * activity_queries.SAMPLE,
        BACKLOG.params(**given): 4 * read_at_most,
        FAILING: 2 * activity_queries.FAILURES,
        WAITING_BY_QUEUE: 5 * count_queries.WAITING,
        RUNS_OF_WORKER.params(worker="w1"): WINDOW,
        CRON_RUNS: WINDOW,
    }
    await fill(table, 40_000)
    for statement, bound in bounds.items():
        assert await read(table, statement) <= 1.1 * bound + 100, str(statement)
