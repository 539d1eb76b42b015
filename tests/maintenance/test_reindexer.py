"""Indexes are rebuilt when they are worth it, beside everything else, and whatever happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sqla_oban import job
from sqla_oban.engine.database import Link
from sqla_oban.maintenance.reindexer import Reindexer
from sqla_oban.queries.reindex import MARK
from sqla_oban.settings import ReindexerSettings
from sqla_oban.telemetry.events import IndexRebuilt, JobFinished, LeadershipGained, RunnerStopped, ServiceFailed
from tests.support import Recorder, both_drivers, enqueue, eventually

SMALL = ReindexerSettings(interval=3600, min_size=100 * 1024)
SPARSE = "oban_jobs_pkey"


@job(name="reindexer.work")
async def work() -> None: ...


@pytest.fixture
async def operator(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """An autocommitting connection, and no comments left on the indexes."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        yield connection
        for (name,) in (
            await connection.execute(text("SELECT indexname FROM pg_indexes WHERE tablename = 'oban_jobs'"))
        ).all():
            await connection.exec_driver_sql(f"COMMENT ON INDEX {name} IS NULL")


async def make_sparse(operator: AsyncConnection) -> None:
    """An index full of the entries of jobs that are gone."""
    await operator.exec_driver_sql(
        "INSERT INTO oban_jobs (worker, state) SELECT 'w', 'suspended' FROM generate_series(1, 20000)"
    )
    await operator.exec_driver_sql("DELETE FROM oban_jobs WHERE mod(id, 1000) <> 0")
    await operator.exec_driver_sql("VACUUM (ANALYZE, TRUNCATE) oban_jobs")


async def comment(operator: AsyncConnection) -> Any:
    return await operator.scalar(
        text(f"SELECT obj_description('{SPARSE}'::regclass, 'pg_class')".replace("::", r"\:\:"))
    )


async def invalid(operator: AsyncConnection) -> list[str]:
    return list(
        (
            await operator.scalars(
                text(
                    "SELECT CAST(indexrelid AS regclass)::text FROM pg_index WHERE NOT indisvalid".replace(
                        "::", r"\:\:"
                    )
                )
            )
        ).all()
    )


@both_drivers
async def test_a_large_index_with_little_in_it_is_rebuilt_once(
    engine: AsyncEngine, operator: AsyncConnection, start: Any, events: Recorder
) -> None:
    await make_sparse(operator)
    before = await operator.scalar(text(f"SELECT pg_relation_size('{SPARSE}')"))
    first = await start(queues={"default": 5}, reindexer=SMALL)
    (rebuilt,) = await events.wait_for(IndexRebuilt, index=SPARSE)
    assert rebuilt.seconds > 0
    after = await operator.scalar(text(f"SELECT pg_relation_size('{SPARSE}')"))
    assert after < before / 4
    assert (await comment(operator)).startswith(MARK)
    (job_id,) = await enqueue(engine, work.new())
    await events.wait_for(JobFinished, id=job_id)
    await first.stop()
    await make_sparse(operator)  # it would be worth it again: who leads next sees that it was done lately
    await start(queues={"default": 5}, reindexer=SMALL)
    await events.wait_for(LeadershipGained, count=2)
    (job_id,) = await enqueue(engine, work.new())
    await events.wait_for(JobFinished, id=job_id)
    assert len(events.of(IndexRebuilt, index=SPARSE)) == 1


async def test_without_settings_and_for_small_or_full_indexes_nothing_is_rebuilt(
    engine: AsyncEngine, operator: AsyncConnection, events: Recorder
) -> None:
    await make_sparse(operator)
    await turn(engine, ReindexerSettings(min_size=2**30))
    await operator.exec_driver_sql("REINDEX TABLE oban_jobs")
    await operator.exec_driver_sql(
        "INSERT INTO oban_jobs (worker, state) SELECT 'w', 'suspended' FROM generate_series(1, 20000)"
    )
    await operator.exec_driver_sql("ANALYZE oban_jobs")
    await turn(engine, SMALL)
    assert events.of(IndexRebuilt) == []


async def test_a_comment_of_somebody_else_stays(
    engine: AsyncEngine, operator: AsyncConnection, events: Recorder
) -> None:
    await make_sparse(operator)
    await operator.exec_driver_sql(f"COMMENT ON INDEX {SPARSE} IS 'mine'")
    await turn(engine, SMALL)
    assert len(events.of(IndexRebuilt, index=SPARSE)) == 1
    assert await comment(operator) == "mine"


async def test_what_an_interrupted_rebuild_left_behind_is_dropped(
    engine: AsyncEngine, operator: AsyncConnection, events: Recorder
) -> None:
    await make_sparse(operator)
    async with engine.connect() as old:
        await old.execute(text("SELECT count(*) FROM oban_jobs FOR UPDATE".replace("count(*)", "id")))
        await operator.exec_driver_sql("SET lock_timeout = '100ms'")
        with pytest.raises(Exception, match="lock timeout"):
            await operator.exec_driver_sql(f"REINDEX INDEX CONCURRENTLY {SPARSE}")
    assert await invalid(operator) != []
    await turn(engine, SMALL)
    assert await invalid(operator) == []
    assert len(events.of(IndexRebuilt, index=SPARSE)) == 1


async def test_a_stop_does_not_wait_for_a_rebuild(
    engine: AsyncEngine, operator: AsyncConnection, start: Any, events: Recorder
) -> None:
    await make_sparse(operator)
    async with engine.connect() as old:
        await old.execute(text("SELECT id FROM oban_jobs FOR UPDATE"))  # which the rebuild waits for
        node = await start(queues={"default": 5}, reindexer=SMALL)

        async def rebuilding() -> bool:
            found = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND query LIKE 'REINDEX%' AND wait_event_type = 'Lock'"
            )
            return bool(await operator.scalar(text(found)))

        async def given_up() -> bool:
            return not await rebuilding()

        await eventually(rebuilding, "the rebuild to wait")
        await node.stop()
        await events.wait_for(RunnerStopped)
        await eventually(given_up, "the rebuild to be given up, and what it waits for is still there")
    assert events.of(IndexRebuilt) == []


async def test_a_role_that_owns_nothing_is_told_so_and_tries_no_harder(
    engine: AsyncEngine, operator: AsyncConnection, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    await make_sparse(operator)
    await operator.exec_driver_sql("DROP ROLE IF EXISTS borrower")
    await operator.exec_driver_sql("CREATE ROLE borrower LOGIN PASSWORD 'p'")
    await operator.exec_driver_sql("GRANT SELECT ON oban_jobs TO borrower")
    borrowing = create_async_engine(engine.url.set(username="borrower", password="p"))
    for _ in range(2):
        await turn(borrowing, SMALL)
    await borrowing.dispose()
    await operator.exec_driver_sql("DROP OWNED BY borrower")
    await operator.exec_driver_sql("DROP ROLE borrower")
    assert "which needs their owner" in caplog.text
    assert not events.of(IndexRebuilt) + events.of(ServiceFailed)


async def test_a_follower_rebuilds_nothing(engine: AsyncEngine, operator: AsyncConnection, events: Recorder) -> None:
    await make_sparse(operator)
    await turn(engine, SMALL, leads=False)
    assert events.of(IndexRebuilt) == []


async def test_what_a_late_lease_broke_off_is_gone_on_with(
    engine: AsyncEngine, operator: AsyncConnection, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a day later, as if it had been done."""
    await make_sparse(operator)
    lead = Lead(is_leader=True)
    service = started(engine, SMALL, lead)
    execute = Link.execute

    async def lose_it(link: Link, statement: Any, parameters: Any = None) -> Any:
        lead.is_leader = False
        return await execute(link, statement, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(Link, "execute", lose_it)
        await service.tick()
    assert events.of(IndexRebuilt) == []
    lead.is_leader = True
    await service.tick()
    assert len(events.of(IndexRebuilt, index=SPARSE)) == 1


async def turn(engine: AsyncEngine, settings: ReindexerSettings, *, leads: bool = True) -> None:
    """One turn of a service that was started."""
    await started(engine, settings, Lead(is_leader=leads)).tick()


@dataclass
class Lead:
    """A leader's word, as the test gives it."""

    is_leader: bool


def started(engine: AsyncEngine, settings: ReindexerSettings, leader: Any) -> Reindexer:
    link = Link(engine, purpose="test", schema=None, timeout=30)
    service = Reindexer(link, leader, node="here", home="public", settings=settings)
    service._stopping = asyncio.Event()
    service._task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
    return service
