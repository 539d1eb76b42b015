"""No due job can keep the others from being made available."""

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState, Snooze, job
from sqla_oban.engine import aside
from sqla_oban.engine.aside import LONGEST, Aside
from sqla_oban.engine.stager import Stager
from sqla_oban.settings import StagerSettings
from sqla_oban.telemetry.events import JobFinished, JobRefused, JobsStaged, ListenerUp, ServiceFailed
from tests.queries.table import Table
from tests.support import Recorder, asleep, both_drivers, enqueue, eventually, jobs

REFUSE = """
    CREATE FUNCTION refuse_staging() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.state = 'available' AND NEW.meta ? 'refused' THEN
        RAISE EXCEPTION 'refused by a test' USING ERRCODE = '23505';
      END IF;
      RETURN NEW;
    END $$
"""


@job(name="stager.work")
async def work() -> None: ...


@job(name="stager.nap")
async def nap() -> Snooze | None:
    return None if naps.pop() else Snooze(0.4)


naps: list[bool] = []


@pytest.fixture
async def refusing(engine: AsyncEngine) -> AsyncIterator[None]:
    """A trigger, as a unique index would do it, refuses to have some jobs made available."""
    async with engine.begin() as connection:
        await connection.execute(text(REFUSE))
        await connection.execute(
            text("CREATE TRIGGER refuse BEFORE UPDATE ON oban_jobs FOR EACH ROW EXECUTE FUNCTION refuse_staging()")
        )
    yield
    async with engine.begin() as connection:
        await connection.execute(text("DROP TRIGGER IF EXISTS refuse ON oban_jobs"))
        await connection.execute(text("DROP FUNCTION refuse_staging"))


async def schedule(engine: AsyncEngine, *refused: int, count: int) -> list[int]:
    """Jobs that are due in the order of their ids, of which those at `refused` cannot be staged."""
    made = [work.with_options(schedule_in=0, meta={"refused": 1} if n in refused else {}).new() for n in range(count)]
    return await enqueue(engine, *made)


@pytest.mark.parametrize("positions", [(0,), (150,), (299,), (0, 1, 2), (10, 290)])
@pytest.mark.usefixtures("refusing")
async def test_jobs_that_are_refused_hold_up_no_other(
    engine: AsyncEngine, start: Any, events: Recorder, positions: tuple[int, ...]
) -> None:
    ids = await schedule(engine, *positions, count=300)
    bad = [ids[position] for position in positions]
    await start(queues={"default": 50})

    async def all_others_ran() -> bool:
        left = [one.id for one in await jobs(engine) if one.state is not JobState.COMPLETED]
        return left == bad

    await eventually(all_others_ran, "all other jobs to run")
    for id_ in bad:
        refused, *_ = await events.wait_for(JobRefused, id=id_)
        assert "refused by a test" in refused.error
    assert {event.id for event in events.of(JobRefused)} == set(bad)
    assert events.of(ServiceFailed) == []


@pytest.mark.usefixtures("refusing")
async def test_two_nodes_get_past_it_as_well(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    for node in ("one", "two"):
        await start(queues={"default": 20}, node=node, stager=StagerSettings(interval=0.05, limit=16))
    ids = await schedule(engine, 7, 8, 100, count=200)

    async def all_others_ran() -> bool:
        return [one.state for one in await jobs(engine)].count(JobState.COMPLETED) == len(ids) - 3

    await eventually(all_others_ran, "all other jobs to run")


@pytest.mark.usefixtures("refusing")
async def test_it_is_tried_again_after_a_while(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "SHORTEST", 0.1)
    (job_id,) = await schedule(engine, 0, count=1)
    await start(queues={"default": 1})
    first, second, *_ = await events.wait_for(JobRefused, count=2, id=job_id)
    assert second.retry_in > first.retry_in
    async with engine.begin() as connection:
        await connection.execute(text("DROP TRIGGER refuse ON oban_jobs"))

    async def ran() -> bool:
        return [one.state for one in await jobs(engine)] == [JobState.COMPLETED]

    await eventually(ran, "the job to run after all")
    assert sum(event.count for event in events.of(JobsStaged)) == 1


def test_the_pause_grows_up_to_a_bound_for_each_job_by_itself() -> None:
    put = Aside()
    pauses = [put.put(7) for _ in range(10)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST
    assert put.put(8) == pauses[0]
    assert sorted(put.ids) == [7, 8]


def test_a_job_whose_time_aside_is_long_over_counts_as_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Aside()
    first = put.put(7)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + first + 1)
    assert (put.ids, len(put)) == ([], 1)
    monkeypatch.setattr(time, "monotonic", lambda: now + first + aside.FORGOTTEN + 1)
    assert (put.ids, len(put)) == ([], 0)
    assert put.put(7) == first


@both_drivers
@pytest.mark.parametrize("delay", [0.0, 0.4])
async def test_a_job_that_is_due_before_the_next_look_is_told_of(
    delay: float, engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 1}, stager=StagerSettings(interval=600, deaf_interval=600))
    await events.wait_for(ListenerUp)
    await enqueue(engine, work.new())
    await events.wait_for(JobFinished)  # it sleeps now
    (id_,) = await enqueue(engine, work.with_options(schedule_in=delay).new())
    await events.wait_for(JobFinished, id=id_)


@pytest.mark.parametrize("delay", [0.0, 0.4])
@pytest.mark.parametrize("state", ["scheduled", "retryable"])
async def test_a_job_that_is_moved_to_before_the_next_look_is_told_of(
    state: str, delay: float, engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    rare = StagerSettings(interval=600, deaf_interval=600)
    node = await start(queues={"default": 1}, leadership=False, stager=rare)
    await events.wait_for(ListenerUp)
    id_, first = await enqueue(engine, work.with_options(schedule_in=3600).new(), work.new())
    await table.connection.execute(text(f"UPDATE oban_jobs SET state = '{state}' WHERE id = {id_}"))
    await events.wait_for(JobFinished, id=first)
    await eventually(lambda: asleep(engine), "the producer to sleep")
    await node.jobs.update(id_, schedule_in=delay)
    await events.wait_for(JobFinished, id=id_)


class Looks:
    """Stands for the link: each look takes as long as it is told, and finds nothing; and for the clock."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.horizons: list[float] = []
        self.now = 1_000.0

    async def execute(self, _: object, asked: dict[str, Any]) -> list[tuple[Any, ...]]:
        self.now += self.seconds.pop(0)
        self.horizons.append(asked["horizon"])
        return [([], 0, [], [], None)]

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("hearing", [True, False], ids=["hearing", "deaf"])
async def test_one_look_that_took_long_delays_no_other_and_what_comes_due_in_a_long_rest_is_known_before_it(
    hearing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the process is stopped for three seconds in the middle of one: half a minute of sleep would follow."""
    looks: Any = Looks(0.001, 3.0, 0.001, 3.0, 2.0, 2.5, 0.001)
    monkeypatch.setattr("sqla_oban.engine.stager.time", looks)
    notifier: Any = SimpleNamespace(hearing=hearing)
    settings = StagerSettings(interval=3.0, deaf_interval=0.25)
    stager = Stager(looks, notifier, [], node="here", schema=None, settings=settings)
    usual = 3.0 if hearing else 0.25
    rests = [await stager.tick() for _ in range(7)]
    assert rests == pytest.approx([usual, usual, usual, usual, 20.0, 20.0, usual])
    assert all(rest <= known for rest, known in zip(rests, looks.horizons, strict=True))


async def test_what_is_put_off_here_for_less_than_until_the_next_look_is_not_late(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 1}, stager=StagerSettings(interval=600, deaf_interval=600))
    await events.wait_for(ListenerUp)
    naps[:] = [True, False]
    await enqueue(engine, nap.new())
    await events.wait_for(JobFinished, state=JobState.COMPLETED)
    assert [event.attempt for event in events.of(JobFinished)] == [1, 1]
