"""A node whose clock is an hour off does nothing early, late or twice: PostgreSQL's clock counts."""

import time
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.engine.clock import now as real_now
from sqla_oban.settings import LeaderSettings, SchedulerSettings
from sqla_oban.telemetry.events import (
    Beaten,
    CronTicked,
    JobFinished,
    JobRescued,
    JobsPruned,
    LeadershipGained,
    LivenessLost,
)
from tests.shop import gate, noop, pass_gate
from tests.support import Recorder, enqueue, eventually, jobs

HOUR = 3600.0
either_way = pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["fast", "slow"])


@pytest.fixture
def wrong_clock(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets every clock of this process that the library reads, the one of the wall and the one of the leases."""
    real_time = time.time

    class WrongDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "WrongDatetime":
            return cls.fromtimestamp(real_time() + off, tz)

    monkeypatch.setattr(time, "time", lambda: real_time() + off)
    monkeypatch.setattr("sqla_oban.models.job.datetime", WrongDatetime)
    for module in ("heartbeat", "leader"):
        monkeypatch.setattr(f"sqla_oban.engine.{module}.now", lambda: real_now() + off)


@either_way
@pytest.mark.usefixtures("wrong_clock")
async def test_jobs_start_when_they_are_due_by_the_database(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 5})
    async with engine.connect() as connection:
        now = (await connection.execute(text("SELECT now()"))).scalar_one()
    soon, later = noop.with_options(schedule_in=0.2).new(), noop.with_options(schedule_in=1800).new()
    assert abs(soon.scheduled_at.timestamp() - time.time()) < 60 < abs(soon.scheduled_at.timestamp() - now.timestamp())
    at_once = noop.with_options(scheduled_at=now - timedelta(minutes=30)).new()
    not_yet = noop.with_options(scheduled_at=now + timedelta(minutes=30)).new()
    ids = await enqueue(engine, soon, later, at_once, not_yet)
    await events.wait_for(JobFinished, id=ids[0])
    await events.wait_for(JobFinished, id=ids[2])
    expected = [JobState.COMPLETED, JobState.SCHEDULED] * 2
    await eventually(lambda: states_are(engine, expected), "the due jobs to end, and only those")


@either_way
@pytest.mark.usefixtures("wrong_clock")
async def test_nothing_is_rescued_or_pruned_by_it(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 5}, node="one")
    await start(queues={"default": 5}, node="two")
    with gate("running") as running:
        (job_id,) = await enqueue(engine, pass_gate.new("running"))
        await eventually(lambda: running.entered == [job_id], "the job to run")
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO oban_jobs (worker, state, completed_at) "
                    "VALUES ('w', 'completed', timezone('UTC', now()) - interval '23.5 hours')"
                )
            )
        beats = len(events.of(Beaten))
        await events.wait_for(Beaten, count=beats + 40)  # many looks for the dead: an hour is more than any beat holds
    await events.wait_for(JobFinished, id=job_id)
    assert not events.of(JobRescued) + events.of(LivenessLost) + events.of(JobsPruned)
    assert len(await jobs(engine)) == 2


@either_way
@pytest.mark.usefixtures("wrong_clock")
async def test_a_lease_is_not_stolen_by_it(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    nodes = [await start(queues={"default": 1}, leader=LeaderSettings(ttl=30, margin=1)) for _ in range(2)]
    beats = len(events.of(Beaten))
    await events.wait_for(Beaten, count=beats + 20)
    assert len(events.of(LeadershipGained)) == 1
    assert sum(node.is_leader for node in nodes) == 1
    async with engine.connect() as connection:
        left = await connection.scalar(text("SELECT expires_at - timezone('UTC', now()) FROM oban_peers"))
    assert timedelta(seconds=15) < left < timedelta(seconds=31)


@either_way
@pytest.mark.usefixtures("wrong_clock")
async def test_no_tick_of_the_crontab_comes_twice_or_early(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    the_hour = text("SELECT extract(hour FROM timezone('UTC', now()))::int")
    async with engine.begin() as connection:
        hour = (await connection.execute(the_hour)).scalar_one()
        for name, of_day, back in (("due", hour, 2), ("an hour ago", hour - 1, 0), ("in an hour", hour + 1, 0)):
            await connection.execute(
                text(
                    "INSERT INTO oban_crons (name, expression, worker, last_tick) VALUES (:name, :expression, "
                    "'shop.noop', timezone('UTC', now()) - make_interval(hours => :back))"
                ),
                {"name": name, "expression": f"* {of_day % 24} * * *", "back": back},
            )
    nodes = [await start(queues={"default": 5}, scheduler=SchedulerSettings(interval=0.1)) for _ in range(2)]
    await events.wait_for(CronTicked, name="due")
    beats = len(events.of(Beaten))
    await events.wait_for(Beaten, count=beats + 20)
    for node in nodes:
        await node.stop()
    async with engine.connect() as connection:
        next_hour_came = (await connection.execute(the_hour)).scalar_one() != hour
    ticked = {one.name for one in events.of(CronTicked)}
    assert ticked == {"due"} or (next_hour_came and ticked == {"due", "in an hour"})
    made = [one.meta["cron_at"] for one in await jobs(engine)]
    assert 1 <= len(made) <= 3  # the present minute's, and those in which the test may end
    assert len(set(made)) == len(made)


async def states_are(engine: AsyncEngine, states: list[JobState]) -> bool:
    return [one.state for one in await jobs(engine)] == states
