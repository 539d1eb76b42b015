"""`oban.jobs`: what can be done to stored jobs, in every state, and in whose transaction."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from sqla_oban import Job, JobState, SqlaOban
from sqla_oban.control import jobs as verbs
from sqla_oban.errors import (
    InvalidJob,
    InvalidSelection,
    JobIsExecuting,
    JobNotFound,
    UnknownOption,
    UnserialisableValue,
)
from sqla_oban.migrations import migrate
from sqla_oban.states import FINAL, RETRYING, UNFINISHED
from tests.support import both_drivers, enqueue, jobs

SCHEMA = "steered"
ENDED = {"completed_at": "2026-01-01", "cancelled_at": "2026-01-01", "discarded_at": "2026-01-01"}


@pytest.fixture
def oban(engine: AsyncEngine) -> SqlaOban:
    return SqlaOban(engine)


async def in_states(engine: AsyncEngine, *states: JobState, **columns: str) -> list[int]:
    """A job in each state, past the checks of the model."""
    given = {"worker": "w", "attempt": "1", "attempted_at": "2026-01-01", **columns}
    names, values = ", ".join(given), ", ".join(f"'{value}'" for value in given.values())
    async with engine.begin() as connection:
        for state in states:
            insert = f"INSERT INTO oban_jobs (state, {names}) VALUES ('{state}', {values})"
            await connection.execute(text(insert.replace(":", r"\:")))
    return [job.id for job in await jobs(engine)]


async def states(engine: AsyncEngine) -> list[str]:
    return [job.state.value for job in await jobs(engine)]


async def test_a_job_is_got_as_it_is_stored(oban: SqlaOban, engine: AsyncEngine) -> None:
    (job_id,) = await enqueue(engine, Job(worker="w", args={"n": 1}))
    job = await oban.jobs.get(job_id)
    assert job is not None
    assert (job.id, job.args, job.state) == (job_id, {"n": 1}, JobState.AVAILABLE)


@pytest.mark.parametrize("unknown", [1, 0, -1, 2**63, 10**40])
async def test_a_job_that_does_not_exist_is_none(oban: SqlaOban, unknown: int) -> None:
    assert await oban.jobs.get(unknown) is None


@pytest.mark.parametrize("wrong", ["1", None, 1.0, True, [1]])
async def test_a_job_is_got_by_its_id_only(oban: SqlaOban, wrong: Any) -> None:
    with pytest.raises(InvalidSelection, match="got by its id"):
        await oban.jobs.get(wrong)


@both_drivers
async def test_what_waits_is_cancelled_at_once_and_what_has_ended_stays(oban: SqlaOban, engine: AsyncEngine) -> None:
    ids = await in_states(engine, *JobState)
    assert await oban.jobs.cancel(ids) == len(UNFINISHED)
    for job, before in zip(await jobs(engine), JobState, strict=True):
        if before in FINAL or before is JobState.EXECUTING:
            assert (job.state, job.cancelled_at) == (before, None)
        else:
            assert (job.state, set(job.meta)) == (JobState.CANCELLED, {"cancel_attempted_at"})
            assert job.cancelled_at is not None


async def test_what_runs_is_marked_by_its_execution_and_signalled(oban: SqlaOban, engine: AsyncEngine) -> None:
    (job_id,) = await in_states(engine, JobState.EXECUTING)
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        await raw.add_listener("public.oban_signal", lambda *notice: heard.put_nowait(notice[3]))
        assert await oban.jobs.cancel(job_id) == 1
        assert await heard.get() == f'{{"action": "pkill", "job_id": {job_id}, "attempt": 1}}'
        await raw.reset()
    (job,) = await jobs(engine)
    assert (job.state, job.meta) == (JobState.EXECUTING, {"cancel_requested": 1767225600.0})


async def test_cancelling_nothing_is_no_error(oban: SqlaOban) -> None:
    assert await oban.jobs.cancel([]) == 0
    assert await oban.jobs.cancel(17) == 0


@both_drivers
async def test_a_retry_makes_available_what_neither_runs_nor_is(oban: SqlaOban, engine: AsyncEngine) -> None:
    ids = await in_states(engine, *JobState, **ENDED, attempt="20", max_attempts="20", meta='{"cancel_requested": 1}')
    began = datetime.now(UTC)
    assert await oban.jobs.retry(ids) == len(RETRYING)
    for job, before in zip(await jobs(engine), JobState, strict=True):
        if before not in RETRYING:
            assert (job.state, job.max_attempts) == (before, 20)
            continue
        assert (job.state, job.attempt, job.max_attempts) == (JobState.AVAILABLE, 20, 21)
        assert (job.completed_at, job.cancelled_at, job.discarded_at) == (None, None, None)
        assert job.scheduled_at > began - timedelta(minutes=1)
        assert job.meta == {}


async def test_a_retry_leaves_attempts_that_are_left(oban: SqlaOban, engine: AsyncEngine) -> None:
    (job_id,) = await in_states(engine, JobState.DISCARDED, attempt="3", max_attempts="7")
    await oban.jobs.retry(job_id)
    assert [job.max_attempts for job in await jobs(engine)] == [7]


async def test_a_retry_of_what_had_as_many_attempts_as_there_can_be_is_harmless(
    oban: SqlaOban, engine: AsyncEngine
) -> None:
    (job_id,) = await in_states(engine, JobState.DISCARDED, attempt="32767", max_attempts="32767")
    assert await oban.jobs.retry(job_id) == 1


@pytest.mark.parametrize("meta", ["7", "[]", "null", '"text"'])
async def test_a_job_with_odd_meta_is_retried_like_any_other(oban: SqlaOban, engine: AsyncEngine, meta: str) -> None:
    (job_id,) = await in_states(engine, JobState.DISCARDED, meta=meta)
    assert await oban.jobs.retry(job_id) == 1
    assert await states(engine) == ["available"]


async def test_what_does_not_run_is_deleted(oban: SqlaOban, engine: AsyncEngine) -> None:
    ids = await in_states(engine, *JobState)
    assert await oban.jobs.delete(ids) == len(JobState) - 1
    assert await states(engine) == ["executing"]
    assert await oban.jobs.delete(12345) == 0


@both_drivers
async def test_an_update_changes_what_it_names(oban: SqlaOban, engine: AsyncEngine) -> None:
    (job_id,) = await enqueue(engine, Job(worker="w", args={"n": 1}, tags=["a"], meta={"m": 1}))
    fields: dict[str, Any] = {"priority": 3, "tags": ["B", "c"], "queue": "other", "max_attempts": 5, "worker": "v"}
    updated = await oban.jobs.update(job_id, **fields, args={"n": [2, None]}, meta={"x": "é"}, weight=5)
    (stored,) = await jobs(engine)
    for job in (updated, stored):
        assert job.weight == 5
        assert (job.priority, job.tags, job.queue, job.max_attempts, job.worker) == (3, ["b", "c"], "other", 5, "v")
        assert (job.args, job.meta, job.state) == ({"n": [2, None]}, {"x": "é"}, JobState.AVAILABLE)


async def test_an_update_of_the_moment_moves_between_available_and_scheduled(
    oban: SqlaOban, engine: AsyncEngine
) -> None:
    (job_id,) = await enqueue(engine, Job(worker="w"))
    later = await oban.jobs.update(job_id, schedule_in=3600)
    assert later.state is JobState.SCHEDULED
    assert later.scheduled_at > datetime.now(UTC) + timedelta(minutes=50)
    past = datetime(2020, 1, 1, tzinfo=UTC)
    now = await oban.jobs.update(later, scheduled_at=past)
    assert (now.state, now.scheduled_at) == (JobState.AVAILABLE, past)


async def test_an_update_of_the_moment_keeps_every_other_state(oban: SqlaOban, engine: AsyncEngine) -> None:
    others = [one for one in RETRYING if one is not JobState.SCHEDULED]
    ids = await in_states(engine, *others)
    updated = await oban.jobs.update(ids, schedule_in=60)
    assert [job.state for job in updated] == others


async def test_an_update_of_several_returns_them_in_order(oban: SqlaOban, engine: AsyncEngine) -> None:
    ids = await enqueue(engine, *(Job(worker="w") for _ in range(3)))
    updated = await oban.jobs.update(select(Job).where(Job.id <= ids[1]), priority=7)
    assert [(job.id, job.priority) for job in updated] == [(ids[0], 7), (ids[1], 7)]
    assert await oban.jobs.update([], priority=7) == []
    assert [job.priority for job in await oban.jobs.update(ids)] == [7, 7, 0]


async def test_an_update_refuses_what_runs_and_changes_nothing(oban: SqlaOban, engine: AsyncEngine) -> None:
    ids = await in_states(engine, JobState.AVAILABLE, JobState.EXECUTING)
    with pytest.raises(JobIsExecuting, match=f"job {ids[1]} is executing"):
        await oban.jobs.update(ids, priority=5)
    assert [job.priority for job in await jobs(engine)] == [0, 0]


async def test_an_update_of_a_job_that_does_not_exist_says_so(oban: SqlaOban) -> None:
    with pytest.raises(JobNotFound, match="no job 17"):
        await oban.jobs.update(17, priority=5)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"priorty": 1}, UnknownOption, "did you mean 'priority'"),
        ({"state": "completed"}, UnknownOption, "no option 'state'"),
        ({"id": 4}, UnknownOption, "no option 'id'"),
        ({"priority": 10}, InvalidJob, "priority must be between 0 and 9"),
        ({"worker": " "}, InvalidJob, "worker must not be blank"),
        ({"queue": "a\x00"}, InvalidJob, "NUL"),
        ({"args": [1]}, InvalidJob, "args must be a dict"),
        ({"args": {"n": float("nan")}}, UnserialisableValue, "nan"),
        ({"meta": {"n": object()}}, UnserialisableValue, "object"),
        ({"max_attempts": 0}, InvalidJob, "max_attempts"),
        ({"max_attempts": 2}, InvalidJob, "must be at least 3, which job"),
        ({"tags": "abc"}, InvalidJob, "tags must be a list"),
        ({"scheduled_at": datetime(2026, 1, 1)}, InvalidJob, "time zone"),  # noqa: DTZ001
        ({"schedule_in": -1}, InvalidJob, "between 0 and 100 years"),
        ({"schedule_in": 1, "scheduled_at": datetime(2026, 1, 1, tzinfo=UTC)}, InvalidJob, "not both"),
    ],
)
async def test_a_wrong_update_is_refused_at_the_call_and_the_transaction_stays_usable(
    oban: SqlaOban, engine: AsyncEngine, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    (job_id,) = await in_states(engine, JobState.AVAILABLE, attempt="3")
    async with AsyncSession(engine) as session, session.begin():
        with pytest.raises(error, match=message):
            await oban.jobs.update(job_id, session=session, **fields)
        session.add(Job(worker="after"))
    assert [job.worker for job in await jobs(engine)] == ["w", "after"]


@both_drivers
@pytest.mark.parametrize("committed", [True, False])
async def test_a_verb_is_part_of_the_transaction_of_the_session_it_is_given(
    oban: SqlaOban, engine: AsyncEngine, committed: bool
) -> None:
    ids = await enqueue(engine, *(Job(worker="w") for _ in range(3)))
    async with AsyncSession(engine) as session:
        assert await oban.jobs.cancel(ids[0], session=session) == 1
        assert await oban.jobs.delete(ids[1], session=session) == 1
        assert (await oban.jobs.update(ids[2], session=session, priority=4)).priority == 4
        await (session.commit() if committed else session.rollback())
    expected = [("cancelled", 0), ("available", 4)] if committed else [("available", 0)] * 3
    assert [(job.state.value, job.priority) for job in await jobs(engine)] == expected


async def test_what_the_session_has_loaded_is_read_anew(
    oban: SqlaOban, sessions: async_sessionmaker[AsyncSession]
) -> None:
    async with sessions.begin() as session:
        kept, gone = Job(worker="w"), Job(worker="w")
        session.add_all([kept, gone])
        await session.flush()
        await oban.jobs.cancel(kept, session=session)
        assert kept.state == "cancelled"
        await oban.jobs.retry(kept, session=session)
        assert kept.state == "available"
        await oban.jobs.delete(gone, session=session)
        assert gone not in session


async def test_pending_jobs_of_the_session_are_seen(oban: SqlaOban, sessions: async_sessionmaker[AsyncSession]) -> None:
    async with sessions.begin() as session:
        session.add(Job(worker="w", queue="fresh"))
        assert await oban.jobs.cancel(select(Job).where(Job.queue == "fresh"), session=session) == 1


async def test_a_factory_that_expires_on_commit_gives_complete_jobs(engine: AsyncEngine) -> None:
    oban = SqlaOban(engine, session_factory=async_sessionmaker(engine, expire_on_commit=True))
    (job_id,) = await enqueue(engine, Job(worker="w"))
    job = await oban.jobs.get(job_id)
    assert job is not None
    assert job.worker == "w"
    assert (await oban.jobs.update(job_id, priority=2)).priority == 2


def test_the_verbs_serve_a_sync_session_as_well(database_url: URL, engine: AsyncEngine) -> None:
    sync = create_engine(database_url.set(drivername="postgresql+psycopg2"))
    with Session(sync) as session:
        job = Job(worker="w")
        session.add(job)
        session.flush()
        assert verbs.cancel(session, job) == 1
        assert verbs.retry(session, [job.id]) == 1
        assert verbs.get(session, job.id) is job
        assert verbs.delete(session, select(Job).where(Job.worker == "w")) == 1
        session.rollback()
    sync.dispose()


@both_drivers
async def test_steering_finds_the_tables_of_another_schema(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        await connection.run_sync(migrate, schema=SCHEMA)
        insert = f"INSERT INTO {SCHEMA}.oban_jobs (worker) VALUES ('w'), ('w'), ('w') RETURNING id"
        ids = list((await connection.scalars(text(insert))).all())
    oban = SqlaOban(engine, schema=SCHEMA)
    async with AsyncSession(engine) as session, session.begin():
        session.add(Job(worker="mine"))
        assert await oban.jobs.cancel(select(Job).where(Job.worker == "w", Job.id < ids[2]), session=session) == 2
        session.add(Job(worker="mine too"))
    assert await oban.jobs.retry(ids[0]) == 1
    assert await oban.jobs.delete(ids[1]) == 1
    assert (await oban.jobs.update(ids[2], priority=3)).priority == 3
    found = [await oban.jobs.get(one) for one in ids]
    assert [job and (job.state.value, job.priority) for job in found] == [("available", 0), None, ("available", 3)]
    assert [job.worker for job in await jobs(engine)] == ["mine", "mine too"]
    async with engine.begin() as connection:
        await connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))


@both_drivers
async def test_a_condition_is_checked_again_once_the_row_is_ours(oban: SqlaOban, engine: AsyncEngine) -> None:
    """A job that was claimed while we waited for its row is no longer what the query selects."""
    (job_id,) = await enqueue(engine, Job(worker="w"))
    waiting = select(Job).where(Job.state == JobState.AVAILABLE)
    async with engine.connect() as claimer:
        await claimer.execute(text("UPDATE oban_jobs SET state = 'executing', attempted_at = now()"))
        cancelling = asyncio.create_task(oban.jobs.cancel(waiting))
        async with engine.connect() as observer:
            waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            while not await observer.scalar(waits):
                await observer.rollback()
        await claimer.commit()
        assert await cancelling == 0
    job = await oban.jobs.get(job_id)
    assert job is not None
    assert (job.state, job.meta) == (JobState.EXECUTING, {})


@both_drivers
@pytest.mark.parametrize("by_query", [True, False])
async def test_a_job_that_is_claimed_while_an_update_waits_for_its_row_runs(
    oban: SqlaOban, engine: AsyncEngine, by_query: bool
) -> None:
    (job_id,) = await enqueue(engine, Job(worker="w"))
    async with engine.connect() as claimer:
        await claimer.execute(text("UPDATE oban_jobs SET state = 'executing', attempt = 1, attempted_at = now()"))
        which: Any = select(Job).where(Job.queue == "default") if by_query else job_id
        updating = asyncio.create_task(oban.jobs.update(which, queue="other"))
        async with engine.connect() as observer:
            waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            while not await observer.scalar(waits):
                await observer.rollback()
        await claimer.commit()
        with pytest.raises(JobIsExecuting, match=f"job {job_id} is executing"):
            await updating
    assert [job.queue for job in await jobs(engine)] == ["default"]


async def test_jobs_are_steered_that_their_session_has_expired(oban: SqlaOban, engine: AsyncEngine) -> None:
    """Their id is known without a query, which would fail where the row is gone, or the session closed."""
    async with AsyncSession(engine) as session:
        session.add_all(stored := [Job(worker="w") for _ in range(3)])
        await session.commit()
        assert await oban.jobs.delete(1, session=session) == 1
        await session.commit()
        assert await oban.jobs.cancel(stored, session=session) == 2
        with pytest.raises(JobNotFound, match="no job 1"):
            await oban.jobs.update(stored[0], priority=1)
        await session.commit()
    assert await oban.jobs.retry(stored) == 2


@pytest.mark.parametrize("meta", ["7", "[]", "null", '"text"'])
async def test_a_cancellation_is_durable_also_where_meta_was_no_object(
    oban: SqlaOban, engine: AsyncEngine, meta: str
) -> None:
    ids = await in_states(engine, JobState.EXECUTING, JobState.AVAILABLE, meta=meta)
    assert await oban.jobs.cancel(ids) == 2
    running, waiting = await jobs(engine)
    assert (set(running.meta), set(waiting.meta)) == ({"cancel_requested"}, {"cancel_attempted_at"})


async def test_two_that_steer_the_same_jobs_do_not_deadlock(oban: SqlaOban, engine: AsyncEngine) -> None:
    ids = await enqueue(engine, *(Job(worker="w") for _ in range(200)))
    backwards = select(Job).where(Job.id > 0).order_by(Job.id.desc())
    for _ in range(5):
        counts = await asyncio.gather(
            oban.jobs.cancel(ids), oban.jobs.cancel(backwards), oban.jobs.cancel(list(reversed(ids)))
        )
        assert sorted(counts) == [0, 0, 200]
        assert await oban.jobs.retry(ids) == 200
