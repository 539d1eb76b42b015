"""`Unique(replace=...)`: a duplicate changes the job that is there."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from sqla_oban import Job, JobState, Unique, insert_all
from sqla_oban.unique import REPLACEABLE
from tests.enqueue.conftest import Run, every_session

LATER = datetime(2040, 1, 1, tzinfo=UTC)
BY_KEY = ["k"]


def made(replace: Any = (), **fields: Any) -> Job:
    args = {"k": 1, **fields.pop("args", {})}
    return Job(worker="w", args=args, unique=Unique(fields=["worker", "args"], keys=BY_KEY, replace=replace), **fields)


def enqueue(session: Session, way: str, *some: Job) -> None:
    if way == "flush":
        session.add_all(some)
        session.flush()
    else:
        insert_all(session, some)


def stored(session: Session, one: Job) -> Any:
    sql = text("SELECT *, CAST(state AS text) AS now FROM oban_jobs WHERE id = :id")
    return session.connection().execute(sql, {"id": one.id}).one()


@every_session
@pytest.mark.parametrize("way", ["flush", "insert_all"])
async def test_every_field_that_can_be_replaced(run: Run[Any], way: str) -> None:
    def check(session: Session) -> None:
        enqueue(session, way, first := made(meta={"a": 1}))
        session.commit()
        enqueue(
            session,
            way,
            again := made(
                REPLACEABLE,
                args={"n": 2},
                meta={"b": 1},
                tags=["t"],
                queue="q",
                priority=4,
                max_attempts=3,
                scheduled_at=LATER,
            ),
        )
        assert again.conflict
        row = stored(session, first)
        assert (row.args, row.meta, row.tags) == ({"k": 1, "n": 2}, {"b": 1}, ["t"])
        assert (row.queue, row.priority, row.max_attempts) == ("q", 4, 3)
        assert (row.scheduled_at.year, row.now) == (2040, "scheduled")

    await run(check)


@every_session
async def test_only_what_is_named_is_replaced_and_only_in_the_states_that_are(run: Run[Any]) -> None:
    replace = {JobState.SCHEDULED: ["scheduled_at"], JobState.AVAILABLE: ["priority"], "completed": ["tags"]}
    named = {JobState.SCHEDULED: (2040, 1, []), JobState.AVAILABLE: (2030, 2, []), JobState.COMPLETED: (2030, 1, ["t"])}

    def check(session: Session) -> None:
        session.add(first := made(priority=1, scheduled_at=LATER.replace(year=2030)))
        session.flush()
        for state in set(JobState) - {JobState.CANCELLED, JobState.DISCARDED}:
            nested = session.begin_nested()
            session.execute(update(Job).values(state=state))
            session.add(again := made(replace, priority=2, scheduled_at=LATER, tags=["t"]))
            session.flush()
            assert again.conflict
            row = stored(session, first)
            assert (row.scheduled_at.year, row.priority, row.tags) == named.get(state, (2030, 1, [])), state
            nested.rollback()

    await run(check)


async def test_a_job_that_runs_or_has_ended_is_left_alone_unless_it_is_named(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := made())
        session.flush()
        for state in (JobState.EXECUTING, JobState.COMPLETED):
            session.execute(update(Job).values(state=state))
            session.add(made(["priority"], priority=2))
            session.flush()
            assert stored(session, first).priority == 0

    await run(check)


@every_session
async def test_a_moment_counts_from_now_on_and_moves_the_job(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := made(schedule_in=10_000))
        session.flush()
        before = stored(session, first)
        session.add(made(["scheduled_at"], schedule_in=20_000))
        session.flush()
        after = stored(session, first)
        assert timedelta(seconds=9_000) < after.scheduled_at - before.scheduled_at < timedelta(seconds=11_000)
        assert after.now == "scheduled"
        session.add(made(["scheduled_at"]))
        session.flush()
        assert stored(session, first).now == "available"
        assert first.state is JobState.AVAILABLE, "what the session has loaded is read anew"

    await run(check)


@pytest.mark.parametrize("way", ["flush", "insert_all"])
async def test_a_twin_changes_the_job_that_is_about_to_be_inserted(run: Run[Any], way: str) -> None:
    def check(session: Session) -> None:
        first = made(priority=1, args={"n": 1})
        second = made(["args", "priority", "scheduled_at"], args={"n": 2}, schedule_in=10_000)
        enqueue(session, way, first, second)
        row = stored(session, first)
        assert (row.args["n"], row.priority, row.now) == (2, 0, "scheduled")
        assert second.id == first.id
        third, fourth = made(args={"k": 2}, schedule_in=60), made(["scheduled_at"], args={"k": 2})
        enqueue(session, way, third, fourth)
        assert stored(session, third).now == "available"

    await run(check)


async def test_max_attempts_never_fall_below_those_that_were_had(run: Run[Any]) -> None:
    def check(session: Session) -> None:
        session.add(first := made())
        session.flush()
        session.execute(update(Job).values(attempt=5, state=JobState.RETRYABLE))
        session.add(made(["max_attempts"], max_attempts=2))
        session.flush()
        assert stored(session, first).max_attempts == 5

    await run(check)


async def test_what_the_session_has_changed_itself_is_not_lost(run: Run[Any], engine: AsyncEngine) -> None:
    def check(session: Session) -> None:
        session.add(first := made())
        session.commit()
        first.tags = ["mine"]
        session.add(made(["priority"], priority=3))
        session.commit()
        session.refresh(first)
        assert (first.tags, first.priority) == (["mine"], 3)

    await run(check)
