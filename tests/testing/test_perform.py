import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_oban import Cancel, Job, JobState, Record, Snooze, current_job, job
from sqla_oban.errors import (
    InvalidArguments,
    InvalidJob,
    JobTimeout,
    NoCurrentJob,
    NotProvided,
    UnknownOption,
    UnknownWorker,
    UnserialisableValue,
)
from sqla_oban.testing import perform_job
from tests.support import eventually
from tests.testing.workers import (
    Import,
    Refused,
    by_the_minute,
    cancel,
    elsewhere,
    in_thread,
    note,
    noted,
    refuse,
    refuse_in_thread,
    slow,
    snooze,
    who_am_i,
)


async def test_a_worker_for_processes_runs_in_the_process_of_the_test() -> None:
    assert await perform_job(elsewhere.new()) == os.getpid()


async def test_it_returns_what_the_worker_returns() -> None:
    assert await perform_job(note.new(7)) == Record(7)
    assert await perform_job(snooze.new(5)) == Snooze(5)
    assert await perform_job(cancel.new()) == Cancel("enough")


async def test_a_worker_is_performed_with_its_arguments_by_name() -> None:
    assert await perform_job(note, {"what": 7}) == Record(7)
    assert await perform_job("testing.note", {"what": 8}) == Record(8)
    assert await perform_job(note) == Record(None)


async def test_a_sync_worker_runs_in_a_thread() -> None:
    before = threading.active_count()
    assert await perform_job(in_thread.new()) == "sqla_oban worker"
    await eventually(lambda: threading.active_count() <= before, "the thread to end")


async def test_a_class_gets_the_job_as_it_would_be_stored() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    given: dict[str, Any] = {"meta": {"m": 1}, "tags": ["A"], "priority": 3, "max_attempts": 5, "scheduled_at": soon}
    job = await perform_job(Import, {"path": ("a", "b")}, attempt=2, **given)
    assert isinstance(job, Job)
    assert (job.args, job.meta, job.tags, job.priority) == ({"path": ["a", "b"]}, {"m": 1}, ["a"], 3)
    assert (job.attempt, job.max_attempts, job.queue, job.scheduled_at) == (2, 5, "imports", soon)
    assert job.state is JobState.EXECUTING
    assert job.attempted_at is not None
    assert job.attempted_at == job.inserted_at


async def test_what_the_table_would_fill_in_is_filled_in() -> None:
    job = await perform_job(Job(worker="testing.Import"))
    assert (job.queue, job.attempt, job.max_attempts, job.priority) == ("default", 1, 20, 0)
    assert (job.args, job.meta, job.tags, job.errors) == ({}, {}, [], [])
    assert job.id > 0


async def test_arguments_go_through_json() -> None:
    done = noted()
    await perform_job(note.new(("a", {"b": (1,)})))
    assert done == [["a", {"b": [1]}]]
    with pytest.raises(UnserialisableValue):
        await perform_job(note, {"what": {1, 2}})


async def test_current_job_works_inside_and_not_afterwards() -> None:
    running = await perform_job(who_am_i.with_options(queue="special").new())
    assert (running.queue, running.worker, running.attempt) == ("special", "testing.who_am_i", 1)
    with pytest.raises(NoCurrentJob):
        current_job()


async def test_the_attempt_can_be_set_on_the_job_or_beside_it() -> None:
    job = who_am_i.new()
    job.attempt = 3
    assert (await perform_job(job)).attempt == 3
    assert (await perform_job(job, attempt=4)).attempt == 4
    with pytest.raises(InvalidJob, match="at least 1"):
        await perform_job(job, attempt=0)


async def test_the_job_stays_as_it_was_and_can_be_enqueued() -> None:
    job = note.new(1)
    before = dict(vars(job))
    await perform_job(job)
    assert vars(job) | {"_sa_instance_state": None} == before | {"_sa_instance_state": None}


@pytest.mark.parametrize("worker", [refuse, refuse_in_thread])
async def test_what_the_worker_raises_is_raised_as_it_is(worker: Any) -> None:
    with pytest.raises(Refused):
        await perform_job(worker)


async def test_its_timeout_counts() -> None:
    with pytest.raises(JobTimeout):
        await perform_job(slow)


async def test_a_job_that_was_due_too_long_ago_is_cancelled_as_in_a_runner() -> None:
    late = datetime.now(UTC) - timedelta(hours=1)
    assert isinstance(await perform_job(by_the_minute, scheduled_at=late), Cancel)
    assert await perform_job(by_the_minute) == "in time"


def test_in_a_sync_test_a_loop_is_made_for_it() -> None:
    assert asyncio.run(perform_job(note.new(1))) == Record(1)
    with pytest.raises(Refused):
        asyncio.run(perform_job(refuse.new()))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: perform_job(Job(worker="testing.nobody")), UnknownWorker, "testing.nobody"),
        (lambda: perform_job("testing.nobody"), UnknownWorker, "testing.nobody"),
        (lambda: perform_job(note, {"wat": 1}), InvalidArguments, "unknown: wat"),
        (lambda: perform_job(note, cast(Any, ["what"])), InvalidArguments, "takes a dict"),
        (lambda: perform_job(note.new(), {"what": 1}), InvalidArguments, "a job has its own"),
        (lambda: perform_job(note.new(), queue="a"), InvalidArguments, "a job has its own"),
        (lambda: perform_job(note, **cast(Any, {"prioritty": 1})), UnknownOption, "did you mean 'priority'"),
        (lambda: perform_job(cast(Any, len)), InvalidArguments, "@job or @worker"),
        (lambda: perform_job(" "), InvalidJob, "blank"),
    ],
)
async def test_what_cannot_be_performed_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await call()


class Base(DeclarativeBase): ...


class Parcel(Base):
    __tablename__ = "performed_parcels"
    id: Mapped[int] = mapped_column(primary_key=True)


@job(name="testing.weigh")
async def weigh(parcel: Parcel) -> int:
    return parcel.id


@job(name="testing.weigh_in_thread")
def weigh_in_thread(parcel: Parcel) -> int:
    return parcel.id


async def test_a_row_among_its_arguments_is_loaded_by_the_session_that_is_given(session: AsyncSession) -> None:
    await (await session.connection()).run_sync(Base.metadata.create_all)
    session.add(parcel := Parcel(id=7))
    await session.commit()
    assert await perform_job(weigh.new(parcel), dependencies={AsyncSession: lambda: session}) == 7
    assert await perform_job(weigh, {"parcel": parcel}, dependencies={AsyncSession: lambda: session}) == 7


@pytest.mark.parametrize(("worker", "kind"), [(weigh, "AsyncSession"), (weigh_in_thread, "Session")])
async def test_without_a_session_for_its_rows_it_says_what_to_give(worker: Any, kind: str) -> None:
    with pytest.raises(NotProvided) as refused:
        await perform_job(worker.new(Parcel(id=1)))
    assert str(refused.value) == (
        f"the rows among the worker's arguments are loaded by {kind}, which perform_job() was not given; give it "
        f"dependencies={{{kind}: ...}}"
    )
