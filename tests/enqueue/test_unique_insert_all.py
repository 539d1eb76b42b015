"""Unique jobs in bulk: each duplicate is told which job is there, in every target and on every driver."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Text, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_oban import Job, JobState, Unique, insert_all, job
from sqla_oban.errors import InvalidEntity, InvalidJob
from sqla_oban.models import JobMixin
from tests.enqueue.conftest import Run, every_session
from tests.support import both_drivers, jobs


class Base(DeclarativeBase):
    pass


class TenantJob(JobMixin, Base):
    __tablename__ = "unique_tenant_jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)


@job(name="unique.thing")
async def thing(tenant: TenantJob) -> None: ...


@pytest.fixture
async def tenant_jobs(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE unique_tenant_jobs"))


BY_DEFAULT = Unique()


def made(number: int, unique: Unique = BY_DEFAULT) -> Job:
    return Job(worker="w", args={"n": number}, unique=unique)


def check_all(given: list[Job], rows: dict[int, Any]) -> None:
    """The first of each number is inserted, every other is told its id."""
    first: dict[int, Job] = {}
    for one in given:
        original = first.setdefault(one.args["n"], one)
        assert one.conflict == (original is not one)
        assert one.id == original.id
        assert rows[one.id] == one.args["n"]
    assert len(rows) == len(first)


@every_session
async def test_into_a_session_and_into_a_connection(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        for whole in (True, False):
            target: Any = session if whole else session.connection()
            given = [made(number % 7) for number in range(50)]
            assert insert_all(target, given) == given
            rows = session.connection().execute(text("SELECT id, args FROM oban_jobs")).all()
            check_all(given, {row.id: row.args["n"] for row in rows})
            again = insert_all(target, [made(number) for number in range(10)])
            assert [one.conflict for one in again] == [True] * 7 + [False] * 3
            assert [one.id for one in again[:7]] == [one.id for one in given[:7]]
            session.rollback()

    await run(check)


@both_drivers
async def test_into_the_asynchronous_ones(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        given = await insert_all(session, [made(1), made(1), Job(worker="w", args={"n": 2})])
        await session.commit()
    async with engine.begin() as connection:
        again = await insert_all(connection, [made(1), made(3)])
    assert [one.conflict for one in (*given, *again)] == [False, True, False, True, False]
    assert again[0].id == given[0].id == given[1].id
    assert [one.args["n"] for one in await jobs(engine)] == [1, 2, 3]


async def test_what_is_inserted_is_as_stored_and_what_is_not_belongs_to_nobody(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        inserted, duplicate, plain = insert_all(session, [made(1, Unique(period=60)), made(1), Job(worker="w")])
        session.add(inserted)
        assert (inserted.unique_states, inserted.unique_period) == (63, timedelta(seconds=60))
        assert (plain.unique_key, plain.unique_states, plain.unique_period) == (None, None, None)
        assert inserted.state is JobState.AVAILABLE
        session.add(duplicate)
        session.flush()
        assert duplicate.conflict, "added to a session it is decided anew"
        (again,) = insert_all(session, [duplicate])
        assert again.conflict
        session.execute(update(Job).values(state=JobState.CANCELLED))
        (again,) = insert_all(session, [duplicate])
        assert not again.conflict

    await run(check)


async def test_expired_ones_keep_nobody_out(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        (first,) = insert_all(session, [made(1, Unique(period=60))])
        session.execute(update(Job).values(inserted_at=Job.inserted_at - timedelta(seconds=60)))
        (again,) = insert_all(session, [made(1, Unique(period=60))])
        assert not again.conflict
        assert again.id != first.id

    await run(check)


@every_session
async def test_many_in_few_statements(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        given = insert_all(session, [made(number) for number in range(3_000)])
        again = insert_all(session, [made(number) for number in range(2_990, 3_010)])
        assert sum(one.conflict for one in given) == 0
        assert [one.conflict for one in again] == [True] * 10 + [False] * 10
        assert [one.id for one in again[:10]] == [one.id for one in given[-10:]]

    await run(check)


@pytest.mark.usefixtures("tenant_jobs")
async def test_jobs_of_an_application_s_own_table(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        def tenant(name: str, number: int) -> TenantJob:
            return TenantJob(worker="w", tenant=name, args={"n": number}, unique=True)

        mixed: list[Any] = [tenant("a", 1), made(1), tenant("b", 1), tenant("a", 2), made(1)]
        insert_all(session, mixed)
        assert [one.conflict for one in mixed] == [False, False, True, False, True]
        session.add_all([again := tenant("c", 2), new := tenant("c", 3)])
        session.flush()
        assert (again.conflict, new.conflict) == (True, False)
        assert again.id == mixed[3].id

    await run(check)


@pytest.mark.usefixtures("tenant_jobs")
async def test_bad_jobs_are_refused_before_anything_is_sent(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        wrong = Job(worker="w", args={"a": 1}, unique=Unique(keys=["a"]))
        wrong.args = {"b": 1}
        with pytest.raises(InvalidJob, match="unique by the key 'a'"):
            insert_all(session, [made(1), wrong])
        pending = thing.with_options(unique=True).new(TenantJob(worker="w", tenant="t"))
        with pytest.raises(InvalidEntity, match="has no primary key yet"):
            insert_all(session, [made(1), pending])
        assert session.connection().scalar(text("SELECT count(*) FROM oban_jobs")) == 0

    await run(check)
