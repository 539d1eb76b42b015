"""`insert_all`: many jobs by one statement, into whatever the application holds."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import URL, Text, create_engine, event, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from sqla_oban import Job, JobState, insert_all, job
from sqla_oban.enqueue import insert
from sqla_oban.errors import InvalidJob
from sqla_oban.models import JobMixin
from sqla_oban.telemetry.events import JobFinished, JobsEnqueued
from tests.support import Recorder, both_drivers, jobs

FIELDS = (
    "worker",
    "args",
    "queue",
    "priority",
    "max_attempts",
    "tags",
    "meta",
    "state",
    "attempt",
    "errors",
    "attempted_by",
)


class Base(DeclarativeBase):
    pass


class TenantJob(JobMixin, Base):
    """A job of an application's own, in another table and with a column more."""

    __tablename__ = "tenant_jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text, server_default="none")


class SpecialJob(Job):
    """A job of ours by another name."""


@job(name="insert.work", queue="bulk", max_attempts=7, tags=["a"], meta={"m": 1})
async def work(number: int) -> None: ...


@pytest.fixture
async def tenant_jobs(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE tenant_jobs"))


@pytest.fixture(params=["psycopg", "psycopg2"])
def sync_engine(database_url: URL, engine: AsyncEngine, request: pytest.FixtureRequest) -> Iterator[Any]:
    sync = create_engine(database_url.set(drivername=f"postgresql+{request.param}"))
    yield sync
    sync.dispose()


@both_drivers
async def test_what_a_job_says_beyond_a_new_one_is_stored_as_well(engine: AsyncEngine) -> None:
    """As of the jobs of another database that are brought here."""
    ago = datetime(2020, 1, 1, tzinfo=UTC)
    past: dict[str, Any] = {"state": "completed", "completed_at": ago, "inserted_at": ago, "errors": [{"attempt": 1}]}
    given = [Job(worker="new"), Job(worker="old", attempted_by=["a", "b"], attempted_at=ago, **past), Job(worker="new")]
    async with AsyncSession(engine) as session, session.begin():
        returned = await insert_all(session, given)
    stored = await jobs(engine)
    assert [one.id for one in returned] == [one.id for one in stored] == [1, 2, 3]
    assert (stored[1].state, stored[1].errors, stored[1].attempted_by) == ("completed", [{"attempt": 1}], ["a", "b"])
    assert {stored[1].completed_at, stored[1].inserted_at, stored[1].attempted_at, returned[1].completed_at} == {ago}
    assert stored[2].completed_at is None


def made(count: int = 5) -> list[Job]:
    return [work.with_options(priority=number % 10).new(number) for number in range(count)]


async def check_stored(engine: AsyncEngine, inserted: list[Job]) -> None:
    """What is stored is what the jobs say, one by one, in the order in which they were given."""
    stored = await jobs(engine)
    assert [one.args["number"] for one in stored] == list(range(len(inserted)))
    for mine, row in zip(inserted, stored, strict=True):
        for field in ("id", *FIELDS, "inserted_at", "scheduled_at", "attempted_at", "completed_at"):
            assert getattr(mine, field) == getattr(row, field), field


@both_drivers
async def test_into_every_asynchronous_target(engine: AsyncEngine) -> None:
    for kind in ("session", "connection", "scoped"):
        async with engine.begin() as connection:
            await connection.execute(text("TRUNCATE oban_jobs"))
        given = made()
        if kind == "connection":
            async with engine.begin() as connection:
                inserted = await insert_all(connection, given)
        elif kind == "session":
            async with AsyncSession(engine) as session, session.begin():
                inserted = await insert_all(session, given)
        else:
            scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
            inserted = await insert_all(scoped, given)
            await scoped.commit()
            await scoped.remove()
        assert all(one is other for one, other in zip(inserted, given, strict=True))
        await check_stored(engine, inserted)


async def test_into_every_synchronous_target(engine: AsyncEngine, sync_engine: Any) -> None:
    for kind in ("session", "connection", "scoped"):
        async with engine.begin() as connection:
            await connection.execute(text("TRUNCATE oban_jobs"))
        if kind == "connection":
            with sync_engine.begin() as target:
                inserted = insert_all(target, made())
        elif kind == "session":
            with Session(sync_engine) as session, session.begin():
                inserted = insert_all(session, made())
        else:
            scoped = scoped_session(sessionmaker(sync_engine))
            inserted = insert_all(scoped, made())
            scoped.commit()
            scoped.remove()
        await check_stored(engine, inserted)


@both_drivers
async def test_what_is_inserted_is_what_a_session_would_have_added(engine: AsyncEngine) -> None:
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

    def variety() -> list[Job]:
        return [
            Job(worker="plain"),
            work.new(1),
            work.with_options(scheduled_at=tomorrow, queue="q", tags=["X", "y"]).new(2),
            Job(worker="odd \U0001f600 'quoted' :x %s", args={"text": 'é\\ " %s :y', "n": [1.5, None, 10**30]}),
            Job(worker="suspended", state=JobState.SUSPENDED, priority=9, max_attempts=1, meta={"a": {"b": []}}),
        ]

    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add_all(added := variety())
        await session.flush()
        inserted = await insert_all(session, variety())
    for one, other in zip(added, inserted, strict=True):
        for field in FIELDS:
            assert getattr(one, field) == getattr(other, field), field
        if one.state is JobState.SCHEDULED:
            assert one.scheduled_at == other.scheduled_at == tomorrow
    assert len(await jobs(engine)) == 10


async def test_a_delay_counts_from_the_insert_by_the_clock_of_the_database(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        before = (await session.execute(select(text("clock_timestamp()")))).scalar_one()
        (soon,) = await insert_all(session, [work.with_options(schedule_in=60).new(1)])
    assert soon.state is JobState.SCHEDULED
    assert timedelta(seconds=60) <= soon.scheduled_at - before < timedelta(seconds=90)
    assert [one.scheduled_at for one in await jobs(engine)] == [soon.scheduled_at]


async def test_it_is_one_statement_and_the_jobs_wake_a_runner(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    await start(queues={"bulk": 50})
    statements.clear()
    async with AsyncSession(engine) as session, session.begin():
        inserted = await insert_all(session, made(1_000))
    assert len([one for one in statements if "INSERT" in one]) == 1
    assert [one.id for one in inserted] == sorted(one.id for one in inserted)
    await events.wait_for(JobFinished, count=1_000)


async def test_an_iterable_of_any_length_goes_in_batch_by_batch(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insert, "BATCH", 10)
    async with engine.begin() as connection:
        inserted = await insert_all(connection, (work.new(number) for number in range(25)))
        assert await insert_all(connection, []) == []
    await check_stored(engine, inserted)


async def test_an_inserted_job_belongs_to_no_session_and_can_be_taken_in(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        (one,) = await insert_all(session, made(1))
        assert one not in session
        session.add(one)
        one.priority = 4
    assert [(stored.id, stored.priority) for stored in await jobs(engine)] == [(one.id, 4)]


@both_drivers
async def test_what_is_rolled_back_was_never_there(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await insert_all(session, made())
        await session.rollback()
        async with session.begin_nested():
            await insert_all(session, made(2))
        savepoint = await session.begin_nested()
        await insert_all(session, made(3))
        await savepoint.rollback()
        await session.commit()
    assert len(await jobs(engine)) == 2


@both_drivers
@pytest.mark.usefixtures("tenant_jobs")
async def test_jobs_of_the_applications_own_classes(engine: AsyncEngine) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    mixed: list[Any] = [
        TenantJob(worker="a", tenant="one", args={"n": 1}),
        TenantJob(worker="b", tenant="two", args={}, scheduled_at=tomorrow),
        SpecialJob(worker="c"),
        Job(worker="d"),
        TenantJob(worker="e", tenant="three", note="given", schedule_in=3600),
    ]
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        assert await insert_all(session, mixed) == mixed
        stored = {one.worker: one for one in await session.scalars(select(TenantJob))}
    async with AsyncSession(engine) as session:
        assert [one.worker for one in await session.scalars(select(Job).order_by(Job.id))] == ["c", "d"]
    assert sorted(stored) == ["a", "b", "e"]
    assert [stored[name].id for name in "abe"] == [one.id for one in mixed if isinstance(one, TenantJob)]
    assert [mixed[0].note, mixed[4].note, mixed[0].state.value] == ["none", "given", "available"]
    assert (stored["b"].state, stored["e"].state) == (JobState.SCHEDULED, JobState.SCHEDULED)
    assert timedelta(minutes=50) < mixed[4].scheduled_at - datetime.now(UTC) < timedelta(minutes=70)


async def test_a_class_of_ones_own_without_more_columns_is_as_fast(engine: AsyncEngine) -> None:
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    async with engine.begin() as connection:
        await insert_all(connection, [SpecialJob(worker="a"), Job(worker="b"), SpecialJob(worker="c")])
    assert len([one for one in statements if "INSERT" in one]) == 1


WRONG: dict[str, Any] = {
    "no job": lambda: [work.new(1), "job"],
    "a worker": lambda: [work],
    "a class": lambda: [Job],
    "None": lambda: [None],
    "one job by itself": lambda: work.new(1),
    "the same job twice": lambda: [work.new(1)] * 2,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_what_is_no_new_job_is_refused_and_the_transaction_stays_usable(engine: AsyncEngine, wrong: Any) -> None:
    async with AsyncSession(engine) as session, session.begin():
        with pytest.raises(InvalidJob, match=r"insert_all\(\)"):
            await insert_all(session, wrong())
        await insert_all(session, made(1))
    assert len(await jobs(engine)) == 1


async def test_a_job_that_is_stored_or_pending_is_refused(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        (stored,) = await insert_all(session, made(1))
        session.add(pending := work.new(1))
        for one in (stored, pending):
            with pytest.raises(InvalidJob, match="stored already or in a session"):
                await insert_all(session, [one])
    assert len(await jobs(engine)) == 2


@pytest.mark.parametrize("target", [None, "session", 7, object()])
def test_what_is_no_target_is_refused(target: Any) -> None:
    with pytest.raises(InvalidJob, match="takes a Session, an AsyncSession, a Connection or an AsyncConnection"):
        insert_all(target, [])


async def test_what_was_inserted_is_told_at_the_commit(engine: AsyncEngine, events: Recorder) -> None:
    async with AsyncSession(engine) as session:
        kept = await insert_all(session, made(2))
        savepoint = await session.begin_nested()
        await insert_all(session, made(3))
        async with session.begin_nested():
            await insert_all(session, made(1))
        await savepoint.rollback()
        assert events.of(JobsEnqueued) == []
        await session.commit()
    (told,) = events.of(JobsEnqueued)
    assert [one.id for one in told.jobs] == [one.id for one in kept]
