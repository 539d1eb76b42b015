from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Job, JobState
from sqla_oban.engine.database import Link
from sqla_oban.engine.loading import EARLIEST, LATEST, load, moment
from sqla_oban.queries.claim import CLAIM, START, Claimed, behind
from tests.support import PATIENCE, both_drivers, enqueue

HOLDER = ["node", "producer"]
ASKED = {"of_queue": "default", "demand": 1, "holder": HOLDER, **behind(START)}


async def claimed(engine: AsyncEngine) -> Claimed:
    async with engine.begin() as connection:
        return Claimed._make((await connection.execute(CLAIM, ASKED)).one())


@pytest.fixture
async def german(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """On a database whose new sessions write moments in the German way."""
    alter = f"ALTER DATABASE {engine.url.database}"
    async with engine.begin() as connection:
        await connection.execute(text(f"{alter} SET datestyle = 'German'"))
    yield engine
    async with engine.begin() as connection:
        await connection.execute(text(f"{alter} RESET datestyle"))


@both_drivers
async def test_a_loaded_job_is_what_the_row_says(engine: AsyncEngine) -> None:
    await enqueue(engine, Job(worker="w", args={"a": [1.5, None]}, tags=["t"], meta={"m": 1}, priority=3))
    loaded = load(await claimed(engine), queue="default", holder=HOLDER)
    async with AsyncSession(engine) as session:
        stored = await session.get_one(Job, loaded.id)
    keys = {
        "unique_key",
        "unique_states",
        "unique_period",
        "chain_key",
        "chain_hold",
        "chain_waits",
        "batch_id",
    }  # not read by a claim, so neither known nor overwritten
    columns = [column.key for column in inspect(Job).column_attrs if column.key not in keys]
    assert keys.isdisjoint(loaded.__dict__)
    assert {name: loaded.__dict__[name] for name in columns} == {name: getattr(stored, name) for name in columns}
    assert (loaded.state, loaded.attempt, loaded.attempted_by) == (JobState.EXECUTING, 1, HOLDER)


async def test_a_loaded_job_is_detached_and_unchanged_and_can_be_added_to_a_session(engine: AsyncEngine) -> None:
    await enqueue(engine, Job(worker="w"))
    job = load(await claimed(engine), queue="default", holder=HOLDER)
    assert inspect(job).detached
    assert not inspect(job).modified
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(job)
        job.meta = {"progress": 1}
    async with AsyncSession(engine) as session:
        assert (await session.get_one(Job, job.id)).meta == {"progress": 1}
        assert await session.scalar(select(func.count()).select_from(Job)) == 1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-11-23 19:00:00.123456", datetime(2026, 11, 23, 19, 0, 0, 123456, UTC)),
        ("0001-01-01 00:00:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31 23:59:59.999999", LATEST),
        ("20000-01-01", LATEST),
        ("infinity", LATEST),
        ("-infinity", EARLIEST),
        ("0044-03-15 12:00:00 BC", EARLIEST),
    ],
)
@both_drivers
async def test_every_moment_of_postgresql_can_be_read(written: str, read: datetime, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        insert = f"INSERT INTO oban_jobs (worker, scheduled_at, inserted_at) VALUES ('w', '{written}', '{written}')"
        await connection.execute(text(insert))
    job = load(await claimed(engine), queue="default", holder=HOLDER)
    assert (job.scheduled_at, job.inserted_at) == (read, read)


@both_drivers
async def test_moments_are_read_right_whatever_the_date_style_of_the_database(german: AsyncEngine) -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    await enqueue(german, Job(worker="w", scheduled_at=noon, state=JobState.AVAILABLE))
    link = Link(german, purpose="test", schema=None, timeout=PATIENCE)
    try:
        (row,) = await link.fetch(CLAIM, ASKED)
    finally:
        await link.close()
    assert load(Claimed._make(row), queue="default", holder=HOLDER).scheduled_at == noon


def test_moments_are_aware() -> None:
    assert moment("2026-11-23 19:00:00").utcoffset() == timedelta(0)
