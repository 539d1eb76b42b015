"""Unique jobs through a session: a duplicate is not inserted, raises nothing, and tells which job is there."""

import warnings
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Table, event, insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from sqla_oban import Job, JobState, Unique, job
from sqla_oban.enqueue import entities as entity_listeners
from sqla_oban.errors import InvalidJob
from sqla_oban.telemetry.events import JobsEnqueued
from tests.enqueue.conftest import Run, every_session
from tests.support import Recorder, jobs


class Base(DeclarativeBase):
    pass


watching = Table(
    "watching",
    Base.metadata,
    Column("user_id", ForeignKey("people.id"), primary_key=True),
    Column("job_id", ForeignKey(Job.id), primary_key=True),
)


class Person(Base):
    """It owns jobs, by a column of theirs that stands for a foreign key, and watches some."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(BigInteger, Identity(start=100), primary_key=True)
    jobs: Mapped[list[Job]] = relationship(
        Job, primaryjoin=lambda: Person.id == Job.priority, foreign_keys=lambda: [Job.priority]
    )
    watched: Mapped[list[Job]] = relationship(Job, secondary=watching)


class ZTicket(Base):
    """It refers to a job; and a job that takes it as an argument needs its key, and it the job's."""

    __tablename__ = "unique_tickets"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey(Job.id))
    job: Mapped[Job | None] = relationship(Job)


class ZParcel(Base):
    __tablename__ = "unique_parcels"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)


@job(name="unique.send", unique=True)
async def send(number: int) -> None: ...


@job(name="unique.period", unique=Unique(period=3_600))
async def hourly(number: int) -> None: ...


@job(name="unique.ship", unique=True)
async def ship(parcel: ZParcel) -> None: ...


@job(name="unique.punch", unique=True)
async def punch(ticket: ZTicket) -> None: ...


@pytest.fixture(autouse=True)
async def tables(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


def count(session: Session) -> int:
    return session.connection().scalar(text("SELECT count(*) FROM oban_jobs")) or 0


def is_duplicate(one: Job, of: Job) -> bool:
    """Not inserted, out of the session, and told which job is there."""
    return one.conflict and one.id == of.id and inspect(one).transient and not of.conflict


@every_session
async def test_a_job_that_is_there_already_is_not_inserted_again(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := send.new(1))
        session.commit()
        session.add_all([again := send.new(1), other := send.new(2), ZParcel()])
        session.commit()
        assert is_duplicate(again, first)
        assert not other.conflict
        assert other in session
        assert count(session) == 2
        session.expunge_all()
        session.add_all([again, send.new(1)])  # the stored one is not loaded
        session.flush()
        assert count(session) == 2
        assert session.get(Job, again.id) is not None

    await run(check)


@every_session
async def test_of_the_same_jobs_in_one_flush_the_first_is_inserted(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        twins = [send.new(1), send.new(2), send.new(1), send.new(1)]
        session.add_all(twins)
        session.flush()
        assert [one.conflict for one in twins] == [False, False, True, True]
        assert all(is_duplicate(one, twins[0]) for one in twins[2:])
        assert count(session) == 2

    await run(check)


@every_session
async def test_among_many_others_each_gets_its_own_id(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add_all([send.new(number) for number in range(0, 40, 2)])
        session.commit()
        mixed = [one for number in range(40) for one in (send.new(number), Job(worker="w", args={"n": number}))]
        session.add_all(mixed)
        session.commit()
        rows = {row.id: row for row in session.scalars(select(Job))}
        assert all(rows[one.id].args == one.args and rows[one.id].worker == one.worker for one in mixed)
        assert [one.conflict for one in mixed] == [not (at % 2) and not (at // 2) % 2 for at in range(80)]

    await run(check)


async def test_unique_jobs_go_in_by_as_few_statements_as_others(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        sent: list[str] = []
        session.connection()
        event.listen(session.get_bind(), "before_cursor_execute", lambda *args: sent.append(args[2].split()[0]))
        session.add_all([hourly.new(number) for number in range(500)])
        session.flush()
        assert sent == ["SELECT", "SELECT", "INSERT"]
        del sent[:]
        session.add_all([hourly.new(number) for number in range(500)])
        session.flush()
        assert sent == ["SELECT"], "duplicates of what is there take no lock and no second look"

    await run(check)


@every_session
async def test_what_refers_to_a_duplicate_refers_to_the_job_that_is_there(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := send.new(1))
        session.commit()
        for forget in (False, True):
            if forget:
                session.expunge_all()
            ticket, person = ZTicket(job=send.new(1)), Person()
            person.watched.append(send.new(1))
            person.jobs.append(owned := send.new(1))
            session.add_all([ticket, person])
            session.flush()
            assert ticket.job_id == first.id
            assert ticket.job is session.get(Job, first.id)
            assert [one.id for one in person.watched] == [first.id]
            assert person.jobs == []
            assert owned.conflict
            stored = session.connection().execute(
                text("SELECT job_id FROM watching WHERE user_id = :id"), {"id": person.id}
            )
            assert stored.scalars().all() == [first.id]
        assert session.connection().scalar(text("SELECT priority FROM oban_jobs")) == 0, "the job keeps its owner"

    await run(check)


async def test_what_refers_to_a_twin_refers_to_the_one_that_is_inserted(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        ticket, late = ZTicket(), ZTicket()
        session.add(late)
        session.flush()
        first, twin, third = send.new(1), send.new(1), send.new(1)
        ticket.job, late.job = twin, third
        session.add_all([first, ticket, twin])
        session.commit()
        assert ticket.job_id == late.job_id == ticket.job.id == twin.id
        assert sum(one.conflict for one in (first, twin, third)) == 2
        assert count(session) == 1

    await run(check)


@every_session
async def test_a_rolled_back_job_is_in_nobodys_way(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        nested = session.begin_nested()
        session.add(one := send.new(1))
        session.flush()
        nested.rollback()
        session.add(one)
        session.flush()
        assert not one.conflict
        assert count(session) == 1
        nested = session.begin_nested()
        session.add(duplicate := send.new(1))
        session.flush()
        assert duplicate.conflict
        nested.rollback()
        assert duplicate.id == one.id
        session.rollback()
        session.add_all([duplicate, one])
        session.commit()
        assert (duplicate.conflict, one.conflict) == (False, True), "each time it is decided anew"
        assert count(session) == 1

    await run(check)


@every_session
async def test_a_duplicate_leaves_the_transaction_as_it_is(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(send.new(1))
        session.commit()
        session.add_all([ZParcel(), send.new(1)])
        session.flush()
        assert session.is_active
        session.add(ZParcel())
        session.commit()
        assert session.connection().scalar(text("SELECT count(*) FROM unique_parcels")) == 2

    await run(check)


async def test_a_flush_of_nothing_but_duplicates(run: Run[Any], events: Recorder) -> None:
    def check(session: Session) -> None:
        session.add(first := send.new(1))
        session.commit()
        session.add(again := send.new(1))
        assert session.scalars(select(Job)).all() == [first], "autoflush"
        assert is_duplicate(again, first)
        session.commit()

    await run(check)
    assert len(events.of(JobsEnqueued)) == 1, "what was not inserted is not told of"


async def test_only_what_a_flush_was_given_is_looked_at(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add_all([parcel := ZParcel(), one := send.new(1), two := send.new(1)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of SQLAlchemy 2.1, for `objects`
            session.flush([parcel])
        assert one in session.new
        assert two in session.new
        session.flush()
        assert is_duplicate(two, one)

    await run(check)


@pytest.mark.parametrize("states", ["successful", "incomplete", "scheduled", "all"])
async def test_a_job_keeps_others_out_in_its_states_and_in_no_others(run: Run[Any], states: str) -> None:
    unique = Unique(states=states)

    def check(session: Session) -> None:
        for state in JobState:
            session.execute(text("TRUNCATE oban_jobs CASCADE"))
            session.add(Job(worker="w", unique=unique, state=JobState.CANCELLED))
            session.flush()
            session.execute(update(Job).values(state=state))
            session.add(again := Job(worker="w", unique=unique))
            session.flush()
            assert again.conflict == (state in unique.states), state
            session.rollback()

    await run(check)


async def test_a_job_in_a_state_in_which_it_keeps_nobody_out_is_a_duplicate_all_the_same(run: Run[Any]) -> None:
    unique = Unique(states="scheduled")

    def check(session: Session) -> None:
        session.add_all([Job(worker="w", unique=unique), Job(worker="w", unique=unique)])
        session.flush()
        assert count(session) == 2, "neither is scheduled"
        session.add_all(
            [later := Job(worker="w", unique=unique, schedule_in=60), now := Job(worker="w", unique=unique)]
        )
        session.flush()
        assert is_duplicate(now, later)

    await run(check)


@every_session
async def test_a_period_ends(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := hourly.new(1))
        session.commit()
        session.add(again := hourly.new(1))
        session.flush()
        assert again.conflict
        session.execute(update(Job).values(inserted_at=Job.inserted_at - timedelta(hours=1)))
        session.add_all([again, twin := hourly.new(1)])
        session.commit()
        assert is_duplicate(twin, again)
        assert again.id != first.id
        session.refresh(first)
        assert (first.unique_states, first.unique_key) == (0, again.unique_key)

    await run(check)


async def test_a_period_counts_from_the_insert_by_postgresqls_clock(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(Job(worker="w", unique=Unique(period=60), schedule_in=3_600))
        session.flush()
        session.execute(update(Job).values(inserted_at=Job.inserted_at - timedelta(seconds=59)))
        session.add(again := Job(worker="w", unique=Unique(period=1)))
        session.flush()
        assert again.conflict, "what counts is the period of the one that is there"

    await run(check)


async def test_what_this_very_flush_changes_counts(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := send.new(1))
        session.commit()
        first.state = JobState.CANCELLED
        session.add(second := send.new(1))
        session.commit()
        assert not second.conflict, "the first is out of its way in the same flush"
        second.state = JobState.DISCARDED
        session.commit()
        first.state = JobState.AVAILABLE
        session.add(third := send.new(1))
        session.commit()
        assert third.conflict, "the first is back in the same flush"
        assert third.id == first.id
        assert count(session) == 2

    await run(check)


async def test_args_that_were_changed_before_the_flush_count(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(send.new(1))
        session.commit()
        session.add(changed := send.new(2))
        changed.args = {"number": 1}
        session.flush()
        assert changed.conflict
        session.add(wrong := Job(worker="w", args={"a": 1}, unique=Unique(keys=["a"])))
        wrong.args = {}
        with pytest.raises(InvalidJob, match="unique by the key 'a'"):
            session.flush()
        session.expunge(wrong)
        session.add(ZParcel())
        session.commit()

    await run(check)


async def test_a_merged_job_is_as_unique(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := hourly.new(1))
        session.commit()
        merged = session.merge(hourly.new(1))
        session.flush()
        assert is_duplicate(merged, first)

    await run(check)


async def test_a_job_that_is_to_be_unique_no_more_is_inserted(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := send.new(1))
        session.add(again := send.new(1))
        session.flush()
        again.unique = again.unique_key = None
        session.add(again)
        session.flush()
        assert not again.conflict
        assert again.id != first.id

    await run(check)


async def test_bulk_inserts_that_know_nothing_of_it_hear_it_from_the_index(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(send.new(1))
        session.commit()
        with pytest.raises(IntegrityError, match="oban_jobs_unique_key_index"), session.begin_nested():
            session.bulk_save_objects([send.new(1)])
        row: dict[str, Any] = {"worker": "w", "unique_key": "mine", "unique_states": 1}
        session.execute(insert(Job), [row])
        with pytest.raises(IntegrityError, match="oban_jobs_unique_key_index"), session.begin_nested():
            session.execute(insert(Job), [row])
        session.add(mine := Job(**row))
        session.commit()
        assert mine.conflict, "a key of one's own"

    await run(check)


@every_session
async def test_entities_that_are_stored_make_a_key(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(parcel := ZParcel())
        session.flush()
        session.add(first := ship.new(parcel))
        session.flush()
        session.add_all([again := ship.new(parcel), other := ZParcel(), ship.new(other)])
        session.flush()
        assert is_duplicate(again, first)
        assert count(session) == 2

    await run(check)


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
async def test_entities_of_the_same_flush_make_a_key(
    run: Run[Any], ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is written right before the INSERT, or after it where SQLAlchemy does not order the rows."""
    if not ordered:
        monkeypatch.setattr(entity_listeners, "SAVE_ALL", None)

    def check(session: Session) -> None:
        parcels = [ZParcel() for _ in range(3)]
        shipped = [ship.new(parcel) for parcel in (*parcels, parcels[0])]
        session.add_all([*shipped, *parcels])
        session.commit()
        assert [one.conflict for one in shipped] == [False, False, False, True]
        assert is_duplicate(shipped[3], shipped[0])
        keys = session.connection().execute(text("SELECT unique_key FROM oban_jobs ORDER BY id")).scalars().all()
        assert keys == [one.unique_key for one in shipped[:3]]
        assert None not in keys
        session.add(again := ship.new(parcels[1]))
        session.commit()
        assert is_duplicate(again, shipped[1])

    await run(check)


async def test_rows_that_need_each_others_keys(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        ticket = ZTicket()
        ticket.job = first = punch.new(ticket)
        session.add_all([ticket, twin := punch.new(ticket)])
        session.commit()
        assert is_duplicate(twin, first)
        session.add(again := punch.new(ticket))
        session.commit()
        assert is_duplicate(again, first)

    await run(check)


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
async def test_a_key_that_was_given_to_another_row_before_is_in_nobodys_way(
    run: Run[Any], ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ordered:
        monkeypatch.setattr(entity_listeners, "SAVE_ALL", None)

    def check(session: Session) -> None:
        session.add_all([parcel := ZParcel(), first := ship.new(parcel)])
        session.commit()
        session.execute(text("TRUNCATE unique_parcels RESTART IDENTITY"))
        session.commit()
        session.expunge_all()
        session.add_all([parcel := ZParcel(), second := ship.new(parcel)])
        session.commit()
        assert not second.conflict
        assert second.unique_key == first.unique_key
        session.add(again := ship.new(parcel))
        session.commit()
        assert is_duplicate(again, second)

    await run(check)


async def test_jobs_are_unique_in_a_schema_of_their_own(engine: AsyncEngine, run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.execute(text("CREATE SCHEMA elsewhere"))
        session.execute(text("CREATE TABLE elsewhere.oban_jobs (LIKE oban_jobs INCLUDING ALL)"))
        session.commit()
        session.connection(execution_options={"schema_translate_map": {None: "elsewhere"}})
        session.add_all([first := send.new(1), twin := send.new(1)])
        session.flush()
        session.add(again := send.new(1))
        session.flush()
        assert is_duplicate(twin, first)
        assert is_duplicate(again, first)
        session.rollback()
        session.execute(text("DROP SCHEMA elsewhere CASCADE"))
        session.commit()

    await run(check)
    assert await jobs(engine) == []
