"""What there is to do in each queue, whatever is in the rows and however many there are."""

from typing import Any

import pytest
from sqlalchemy import URL, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState, SqlaOban
from sqla_oban.control.watch import depths
from sqla_oban.control.watch.counting import Count
from sqla_oban.migrations import migrate
from sqla_oban.queries import depths as queries
from tests.queries.table import Table
from tests.support import both_drivers


@pytest.fixture
def oban(engine: AsyncEngine) -> SqlaOban:
    return SqlaOban(engine)


async def test_many_jobs_are_estimated_and_not_counted(
    oban: SqlaOban, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depths, "EXACTLY", 10)
    monkeypatch.setattr(queries, "EXACTLY", 10)
    await table.connection.execute(text("INSERT INTO oban_jobs (worker) SELECT 'w' FROM generate_series(1, 500)"))
    await table.connection.execute(
        text("INSERT INTO oban_jobs (worker, state) SELECT 'w', 'scheduled' FROM generate_series(1, 300)")
    )
    await table.connection.execute(text("ANALYZE oban_jobs"))
    (depth,) = await oban.queues.depths()
    assert not depth.count(JobState.AVAILABLE).exact
    assert 400 < depth.count(JobState.AVAILABLE).jobs < 600
    assert not depth.count(JobState.SCHEDULED).exact
    assert 200 < depth.count(JobState.SCHEDULED).jobs < 400


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


async def test_the_lag_is_that_of_every_priority(oban: SqlaOban, table: Table) -> None:
    for priority, minutes in (("0", 1), ("9", 2), ("12", 60), ("32767", 5)):
        await table.add(priority=priority, scheduled_at=f"timezone('UTC', now()) - interval '{minutes} minutes'")
    (depth,) = await oban.queues.depths()
    assert depth.lag >= 3600


async def test_whatever_a_row_holds_there_is_a_lag(oban: SqlaOban, table: Table) -> None:
    await table.add(scheduled_at="'20000-01-01'")
    await table.add(scheduled_at="'-infinity'")
    assert [depth.lag > 0 for depth in await oban.queues.depths()] == [True]


async def test_the_question_is_bounded(oban: SqlaOban, engine: AsyncEngine) -> None:
    """Who reads for long keeps dead rows from being removed."""
    said: list[Any] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: said.append((given[2], given[3])))
    await oban.queues.depths()
    bounding, given = next(one for one in said if "SAVEPOINT" not in one[0])
    assert "set_config" in bounding
    assert {"statement_timeout", "5000", "enable_seqscan"} <= set(given)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SHOW statement_timeout")) == "0"


async def test_another_schema_is_looked_at_where_its_runner_is(engine: AsyncEngine, database_url: URL) -> None:
    sync = create_engine(database_url.set(drivername="postgresql+psycopg"))
    with sync.begin() as connection:
        migrate(connection, schema="listed")
        connection.execute(text("INSERT INTO listed.oban_jobs (worker, queue) VALUES ('w', 'there')"))
    sync.dispose()
    there: Any = SqlaOban(engine, schema="listed")
    assert [depth.queue for depth in await there.queues.depths()] == ["there"]
    assert await SqlaOban(engine).queues.depths() == []
