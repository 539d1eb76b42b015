import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_oban import Job, JobState, Record, SqlaOban, job
from sqla_oban.errors import InvalidArguments, InvalidEntity, InvalidJob, UnknownOption, UnserialisableValue
from sqla_oban.testing import all_enqueued, assert_enqueued, drain, refute_enqueued
from tests.support import both_drivers, enqueue, eventually
from tests.testing.workers import Import, in_thread, note, refuse

TOMORROW = datetime.now(UTC) + timedelta(days=1)
MATCHING: list[dict[str, Any]] = [
    {},
    {"worker": note},
    {"worker": "testing.note"},
    {"queue": "special"},
    {"args": {}},
    {"args": {"what": {"id": 7}}},
    {"args": {"what": {"to": ["a"]}}},
    {"meta": {"by": "testing"}},
    {"meta": {"deep": {"b": 2}}},
    {"tags": ["NOTED "]},
    {"tags": ["noted", "x"]},
    {"tags": []},
    {"priority": 3},
    {"state": "scheduled"},
    {"state": JobState.SCHEDULED},
    {"schedule_in": 86_400},
    {"schedule_in": timedelta(days=1)},
    {"worker": note, "queue": "special", "args": {"what": {"id": 7}}, "priority": 3},
]
OTHER: list[dict[str, Any]] = [
    {"worker": in_thread},
    {"worker": Import},
    {"worker": "testing"},
    {"queue": "default"},
    {"args": {"what": {"id": 8}}},
    {"args": {"what": {"id": "7"}}},
    {"args": {"else": 1}},
    {"meta": {"deep": {"b": 3}}},
    {"tags": ["noted", "y"]},
    {"priority": 4},
    {"state": "available"},
    {"schedule_in": 86_000},
    {"schedule_in": 0},
    {"scheduled_at": TOMORROW + timedelta(days=30)},  # no test begins so long after this module was imported
    {"worker": note, "queue": "default"},
]


def one_job() -> Job:
    options: dict[str, Any] = {"queue": "special", "priority": 3, "tags": ["noted", "X"], "schedule_in": 86_400}
    made: Job = note.with_options(**options).new({"id": 7, "to": ["a", "b"]})
    return made


@both_drivers
async def test_a_job_is_found_by_all_that_is_said_of_it(session: AsyncSession) -> None:
    session.add(job := one_job())
    for filters in MATCHING:
        assert await assert_enqueued(session, **filters) == [job], filters
        assert await all_enqueued(session, **filters) == [job], filters
        with pytest.raises(AssertionError):
            await refute_enqueued(session, **filters)


@both_drivers
async def test_a_job_is_not_found_by_anything_else(session: AsyncSession) -> None:
    session.add(one_job())
    for filters in OTHER:
        assert await all_enqueued(session, **filters) == [], filters
        await refute_enqueued(session, **filters)
        with pytest.raises(AssertionError):
            await assert_enqueued(session, **filters)


def test_a_sync_session_is_asked_by_plain_calls(sync_session: Session) -> None:
    sync_session.add(job := one_job())
    for filters in MATCHING:
        assert assert_enqueued(sync_session, **filters) == all_enqueued(sync_session, **filters) == [job], filters
    for filters in OTHER:
        refute_enqueued(sync_session, **filters)
        with pytest.raises(AssertionError):
            assert_enqueued(sync_session, **filters)


async def test_a_moment_may_be_off_by_a_second(session: AsyncSession) -> None:
    session.add(note.with_options(scheduled_at=TOMORROW).new())
    for seconds in (-1, 0, 1):
        await assert_enqueued(session, scheduled_at=TOMORROW + timedelta(seconds=seconds))
    for seconds in (-2, 2):
        await refute_enqueued(session, scheduled_at=TOMORROW + timedelta(seconds=seconds))


async def test_the_newest_come_first(session: AsyncSession) -> None:
    session.add_all([note.new(1), note.new(2), in_thread.new(3)])
    assert [job.args["what"] for job in await all_enqueued(session)] == [3, 2, 1]
    assert [job.args["what"] for job in await assert_enqueued(session, note)] == [2, 1]


async def test_only_jobs_that_have_not_run_are_enqueued_unless_a_state_is_asked_for(session: AsyncSession) -> None:
    session.add_all([Job(worker="w", state=state, args={"state": state.value}) for state in JobState])
    found = {job.state for job in await all_enqueued(session)}
    assert found == {JobState.AVAILABLE, JobState.SCHEDULED, JobState.SUSPENDED}
    assert [job.state for job in await all_enqueued(session, state="retryable")] == [JobState.RETRYABLE]


async def test_they_can_be_counted(session: AsyncSession) -> None:
    session.add_all([note.new(1), note.new(2)])
    assert len(await assert_enqueued(session, note, count=2)) == 2
    assert await assert_enqueued(session, in_thread, count=0) == []
    for count in (0, 1, 3):
        with pytest.raises(
            AssertionError, match=f"expected {count} jobs, found 2, enqueued with worker='testing.note'"
        ):
            await assert_enqueued(session, note, count=count)


async def test_a_failure_names_the_filters_and_what_is_stored(session: AsyncSession) -> None:
    with pytest.raises(AssertionError) as empty:
        await assert_enqueued(session)
    assert str(empty.value) == "expected a job enqueued at all; no jobs are stored"
    session.add_all([note.new(number) for number in range(20)])
    await drain(session, limit=1)
    with pytest.raises(AssertionError) as caught:
        await assert_enqueued(session, note, args={"what": 20}, queue="special")
    first, *lines = str(caught.value).splitlines()
    assert first == (
        "expected a job enqueued with worker='testing.note', args={'what': 20}, queue='special'; stored are:"
    )
    assert len(lines) == 11
    assert "'testing.note'" in lines[0]
    assert "{'what': 19}" in lines[0]
    assert lines[-1] == "  ..."
    with pytest.raises(AssertionError, match=r"(?s)expected no job enqueued with args=.*, found:.*'what': 3"):
        await refute_enqueued(session, args={"what": 3})


async def test_a_failure_shows_jobs_that_have_run(session: AsyncSession) -> None:
    session.add(note.new(1))
    await drain(session)
    with pytest.raises(AssertionError, match="COMPLETED"):
        await assert_enqueued(session, note)


async def test_what_a_session_had_loaded_is_read_anew(engine: AsyncEngine) -> None:
    await enqueue(engine, new := note.new(1))
    async with AsyncSession(engine) as session:
        (loaded,) = await all_enqueued(session)
        async with AsyncSession(engine) as other, other.begin():
            (await other.get_one(Job, new.id)).priority = 7
        assert (await assert_enqueued(session, priority=7))[0] is loaded
        assert loaded.priority == 7


@both_drivers
async def test_a_runner_and_an_engine_see_what_is_committed(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(note.new(1))
        await session.flush()
        await refute_enqueued(engine, note)
        await refute_enqueued(SqlaOban(engine), note)
        await session.commit()
    for target in (engine, SqlaOban(engine)):
        (job,) = await assert_enqueued(target, note)
        assert job.args == {"what": 1}, "it can be read although its session is closed"


async def commit_once_somebody_looks(engine: AsyncEngine, looked: asyncio.Event) -> None:
    await looked.wait()
    await enqueue(engine, note.new("late"))


@pytest.fixture
def looked(engine: AsyncEngine) -> asyncio.Event:
    """Set when the first look for jobs has been sent."""
    seen = asyncio.Event()

    def note_it(_: object, __: object, statement: str, *___: object) -> None:
        if "FROM oban_jobs" in statement:
            seen.set()

    event.listen(engine.sync_engine, "after_cursor_execute", note_it)
    return seen


async def test_a_job_that_is_committed_later_is_waited_for(engine: AsyncEngine, looked: asyncio.Event) -> None:
    async with AsyncSession(engine) as session:
        later = asyncio.create_task(commit_once_somebody_looks(engine, looked))
        (job,) = await assert_enqueued(session, note, within=30)
        assert job.args == {"what": "late"}
        await later


async def test_a_job_that_appears_later_fails_a_refutation(engine: AsyncEngine, looked: asyncio.Event) -> None:
    later = asyncio.create_task(commit_once_somebody_looks(engine, looked))
    with pytest.raises(AssertionError, match=r"within 30 s, found:\n  <Job id="):
        await refute_enqueued(engine, note, within=30)
    await later


async def test_waiting_has_an_end(session: AsyncSession) -> None:
    with pytest.raises(AssertionError, match=r"with worker='testing.note' within 0.05 s; no jobs"):
        await assert_enqueued(session, note, within=0.05)
    await refute_enqueued(session, note, within=0.05)


async def test_a_sync_session_waits_too(engine: AsyncEngine, sync_session: Session) -> None:
    looking = asyncio.create_task(asyncio.to_thread(assert_enqueued, sync_session, refuse, within=30))
    await eventually(lambda: sync_session.in_transaction())
    await enqueue(engine, refuse.new("late"))
    assert [job.args for job in await looking] == [{"what": "late"}]


@pytest.mark.parametrize("helper", [all_enqueued, assert_enqueued, refute_enqueued])
@pytest.mark.parametrize(
    ("filters", "error", "message"),
    [
        ({"prioritty": 1}, UnknownOption, "did you mean 'priority'"),
        ({"scheduled_in": 1}, UnknownOption, "did you mean 'schedule"),
        ({"worker": len}, InvalidArguments, "@job or @worker"),
        ({"args": [1]}, InvalidJob, "must be a dict"),
        ({"args": {"a": {1}}}, UnserialisableValue, "JSON"),
        ({"state": "done"}, InvalidJob, "state must be one of"),
        ({"scheduled_at": datetime(2026, 1, 1)}, InvalidJob, "time zone"),  # noqa: DTZ001
        ({"tags": "noted"}, InvalidJob, "list"),
        ({"queue": ""}, InvalidJob, "blank"),
    ],
)
async def test_what_no_job_could_be_is_refused_at_the_call(
    helper: Callable[..., Any], filters: dict[str, Any], error: type[Exception], message: str, session: AsyncSession
) -> None:
    with pytest.raises(error, match=message):
        helper(session, **filters)


async def test_what_is_no_target_is_refused_at_the_call() -> None:
    with pytest.raises(InvalidArguments, match="an AsyncSession, a Session"):
        assert_enqueued("postgresql://")  # type: ignore[call-overload]


class Base(DeclarativeBase): ...


class Parcel(Base):
    __tablename__ = "testing_parcels"
    id: Mapped[int] = mapped_column(primary_key=True)


@dataclass
class Address:
    city: str
    street: str


@job(name="testing.post")
async def post(parcel: Parcel, day: date, to: Address, *, note: str = "") -> Record:
    return Record(parcel.id)


@pytest.fixture
async def parcel(session: AsyncSession) -> Parcel:
    await (await session.connection()).run_sync(Base.metadata.create_all)
    return Parcel()


@both_drivers
async def test_arguments_are_asked_for_as_they_were_given(session: AsyncSession, parcel: Parcel) -> None:
    made = post.new(parcel, date(2026, 11, 25), Address("Ulm", "Gasse"), note="fragile")
    session.add_all([parcel, made])  # the helper's flush gives them their keys
    ways: list[dict[str, Any]] = [
        {"parcel": parcel},
        {"day": date(2026, 11, 25), "note": "fragile"},
        {"day": "2026-11-25", "to": Address("Ulm", "Gasse"), "parcel": parcel},
        {"to": {"city": "Ulm"}},
        made.args,
    ]
    for args in ways:
        for worker in (post, "testing.post"):
            assert await assert_enqueued(session, worker, args=args) == [made], args
    await session.refresh(made)
    assert await assert_enqueued(session, post, args=made.args) == [made], "also as they are stored"
    assert await assert_enqueued(session, args=made.args) == [made]
    session.add(other := Parcel())
    for args in ({"parcel": other}, {"day": date(2026, 11, 26)}, {"to": {"city": "Bonn"}}):
        await refute_enqueued(session, post, args=args)


async def test_arguments_that_no_job_of_the_worker_could_have_are_refused(session: AsyncSession) -> None:
    with pytest.raises(InvalidArguments, match="'parcel' takes a row of Parcel, got 7"):
        await assert_enqueued(session, post, args={"parcel": 7})
    with pytest.raises(InvalidArguments, match="'day' does not fit"):
        await refute_enqueued(session, post, args={"day": "tomorrow"})
    with pytest.raises(InvalidEntity, match="no primary key yet"):
        await assert_enqueued(session, post, args={"parcel": Parcel()})
