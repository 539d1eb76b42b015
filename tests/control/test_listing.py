"""Looking at jobs: pages, numbers and depths, whatever is in the rows and however many there are."""

from typing import Any

import pytest
from sqlalchemy import URL, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Job, JobState, SqlaOban
from sqla_oban.control.listing import Count, JobFilter
from sqla_oban.errors import InvalidSelection
from sqla_oban.migrations import migrate
from sqla_oban.queries import listing
from tests.queries.table import Table
from tests.support import both_drivers, enqueue


@pytest.fixture
def oban(engine: AsyncEngine) -> SqlaOban:
    return SqlaOban(engine)


@both_drivers
@pytest.mark.parametrize(
    ("which", "found"),
    [
        (JobFilter(), [4, 3, 2, 1]),
        (JobFilter(states=(JobState.EXECUTING,)), [3]),
        (JobFilter(states=(JobState.EXECUTING, JobState.COMPLETED)), [4, 3]),
        (JobFilter(queues=("a",)), [4, 1]),
        (JobFilter(queues=("a", "b")), [4, 2, 1]),
        (JobFilter(workers=("other",)), [2]),
        (JobFilter(tags=("red", "green")), [1]),
        (JobFilter(node="node"), [3]),
        (JobFilter(priority=3), [4]),
        (JobFilter(args={"order": {"id": 7}}), [2]),
        (JobFilter(queues=("a",), states=(JobState.COMPLETED,)), [4]),
    ],
    ids=repr,
)
async def test_jobs_are_found_by_each_condition(
    which: JobFilter, found: list[int], oban: SqlaOban, table: Table
) -> None:
    await table.add(queue="'a'", tags="ARRAY['red', 'green']")
    await table.add(queue="'b'", worker="'other'", tags="ARRAY['red']", args='\'{"order": {"id": 7, "n": 1}}\'')
    await table.add_executing(queue="'c'")
    await table.add(queue="'a'", state="'completed'", priority="3")
    assert [job.id for job in await oban.jobs.page(which)] == found
    assert await oban.jobs.count(which) == Count(len(found))
    assert [one async for batch in oban.jobs.batches(which, size=1) for one in batch] == sorted(found)


async def test_a_page_begins_where_the_last_one_ended(oban: SqlaOban, engine: AsyncEngine) -> None:
    ids = await enqueue(engine, *(Job(worker="w") for _ in range(5)))
    first = await oban.jobs.page(JobFilter(), limit=2)
    second = await oban.jobs.page(JobFilter(), limit=2, before=first[-1].id)
    assert [job.id for job in (*first, *second)] == ids[:0:-1]


@pytest.mark.parametrize("limit", [0, -1, 1_001])
async def test_a_page_of_no_jobs_or_of_too_many_is_refused(limit: int, oban: SqlaOban) -> None:
    with pytest.raises(InvalidSelection, match="a page has 1 to 1,000 jobs"):
        await oban.jobs.page(JobFilter(), limit=limit)


def test_what_postgresql_cannot_store_is_refused_when_the_filter_is_made() -> None:
    with pytest.raises(InvalidSelection, match="PostgreSQL does not store"):
        JobFilter(queues=("a\x00",))


@both_drivers
async def test_whatever_a_row_holds_it_is_listed_in_short(oban: SqlaOban, table: Table) -> None:
    await table.add(
        scheduled_at="'20000-01-01'",
        priority="12",
        args="jsonb_build_object('n', repeat('9', 5000)::numeric, 'text', repeat('x', 1000000))",
        tags="ARRAY['']",
    )
    await table.add(scheduled_at="'-infinity'")
    never, job = await oban.jobs.page(JobFilter())
    assert never.scheduled_at == "-infinity"
    assert [depth.lag > 0 for depth in await oban.queues.depths()] == [True]
    assert (job.scheduled_at, job.priority, len(job.args)) == ("20000-01-01T00:00:00Z", 12, listing.MOST_SHOWN)


async def test_many_jobs_are_estimated_and_not_counted(
    oban: SqlaOban, engine: AsyncEngine, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_COUNTED", 10)
    await table.connection.execute(text("INSERT INTO oban_jobs (worker) SELECT 'w' FROM generate_series(1, 500)"))
    await table.connection.execute(
        text("INSERT INTO oban_jobs (worker, state) SELECT 'w', 'scheduled' FROM generate_series(1, 300)")
    )
    await table.connection.execute(text("ANALYZE oban_jobs"))
    count = await oban.jobs.count(JobFilter())
    assert (count.exact, count.number) == (False, 800)
    assert str(count) == "about 800"
    (depth,) = await oban.queues.depths()
    assert not depth.count(JobState.AVAILABLE).exact
    assert 400 < depth.count(JobState.AVAILABLE).number < 600
    assert not depth.count(JobState.SCHEDULED).exact
    assert 200 < depth.count(JobState.SCHEDULED).number < 400


@both_drivers
async def test_what_there_is_to_do_is_told_by_queue(oban: SqlaOban, table: Table) -> None:
    hour = "timezone('UTC', now()) - interval '1 hour'"
    await table.add(queue="'a'", priority="5", scheduled_at=hour)
    await table.add(queue="'a'")
    await table.add(queue="'b'", state="'retryable'")
    await table.add_executing(queue="'b'")
    await table.add(queue="'c'", state="'completed'")
    a, b = await oban.queues.depths()
    assert (a.queue, a.count(JobState.AVAILABLE)) == ("a", Count(2))
    assert a.lag >= 3600
    assert (b.queue, b.count(JobState.RETRYABLE), b.count(JobState.EXECUTING)) == ("b", Count(1), Count(1))
    assert (b.lag, b.count(JobState.AVAILABLE)) == (0, Count(0))


async def test_nothing_to_do_is_nothing(oban: SqlaOban) -> None:
    assert await oban.queues.depths() == []


async def test_no_question_takes_long(oban: SqlaOban, engine: AsyncEngine) -> None:
    """Who reads for long keeps dead rows from being removed."""
    said: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    for ask in (oban.jobs.page(JobFilter()), oban.jobs.count(JobFilter()), oban.queues.depths()):
        said.clear()
        await ask
        assert "set_config('statement_timeout', '5s', true)" in said[0]
    async with engine.connect() as connection:
        assert await connection.scalar(text("SHOW statement_timeout")) == "0"


async def test_another_schema_is_looked_at_where_its_runner_is(engine: AsyncEngine, database_url: URL) -> None:
    sync = create_engine(database_url.set(drivername="postgresql+psycopg"))
    with sync.begin() as connection:
        migrate(connection, schema="listed")
        connection.execute(text("INSERT INTO listed.oban_jobs (worker, queue) VALUES ('w', 'there')"))
    sync.dispose()
    there: Any = SqlaOban(engine, schema="listed")
    assert [job.queue for job in await there.jobs.page(JobFilter())] == ["there"]
    assert await there.jobs.count(JobFilter(queues=("there",))) == Count(1)
    assert [depth.queue for depth in await there.queues.depths()] == ["there"]
    assert await SqlaOban(engine).queues.depths() == []
