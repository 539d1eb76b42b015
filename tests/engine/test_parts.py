"""What jobs of workflows may know of the rest is looked up for all that are claimed together."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import JobState, Record, Workflow, current_job, job
from sqla_oban.engine.database import Link
from sqla_oban.engine.parts import parts_of
from sqla_oban.engine.producer import Producer
from sqla_oban.queries.workflow import PLACES
from sqla_oban.telemetry.events import JobFinished, JobsReleased
from tests.shop import noop
from tests.support import Recorder, enqueue, eventually, jobs


@job(name="parts.step")
async def step() -> Record:
    return Record(1 + sum(one.result for one in current_job().upstream.values()))


async def look(ids: list[int]) -> list[list[Any]]:
    """Rows of `PLACES` for jobs of workflow 7."""
    upstream = '{"a": {"id": 1, "state": "completed", "result": 5}}'
    return [[job, 7, upstream, '{"day": [1]}' if job == ids[0] else None] for job in ids if job < 100]


async def test_all_share_a_look_and_a_context() -> None:
    parts = await parts_of([2, 3, 100], look)
    one, other, stranger = (parts[id_] for id_ in (2, 3, 100))
    assert one is not None
    assert other is not None
    assert stranger is None
    assert one.workflow_id == other.workflow_id == 7
    assert one.upstream["a"].result == other.upstream["a"].result == 5
    one.context["day"].append(2)  # what one job does to its own is nothing to others
    assert other.context == {"day": [1]}


@pytest.mark.parametrize("text", [None, "{}"])
async def test_nothing_is_said_and_nothing_was_waited_for(text: str | None) -> None:
    async def look(ids: list[int]) -> list[list[Any]]:
        return [[job, 7, text, text] for job in ids]

    part = (await parts_of([2], look))[2]
    assert part is not None
    assert part.context == part.upstream == {}


class Looks:
    """What is looked up while a runner works: each look waits for `meanwhile`, and the first `failing` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[list[int]] = []
        self.failing = 0
        self.meanwhile: Any = None
        self._fetch = Link.fetch
        monkeypatch.setattr(Link, "fetch", lambda link, statement, given: self.fetch(link, statement, given))

    async def fetch(self, link: Link, statement: Any, parameters: Any) -> Any:
        if statement is PLACES:
            self.asked.append(parameters["ids"])
            if self.meanwhile is not None:
                await self.meanwhile()
            if len(self.asked) <= self.failing:
                raise OSError("cut")
        return await self._fetch(link, statement, parameters)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


async def fan(engine: AsyncEngine, width: int) -> list[int]:
    """A workflow of steps that wait for nothing."""
    workflow = Workflow(name="fan")
    for number in range(width):
        workflow.add(f"step {number}", step.new())
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(workflow)
    return [one.id for one in workflow.jobs.values()]


async def test_jobs_that_are_claimed_together_are_looked_up_together(
    engine: AsyncEngine, start: Any, events: Recorder, looks: Looks
) -> None:
    ids = await fan(engine, 5)
    await start(queues={"default": 10})
    await events.wait_for(JobFinished, count=5)
    assert [sorted(asked) for asked in looks.asked] == [ids]
    await eventually(lambda: completed(engine, 5), "all results")


async def completed(engine: AsyncEngine, count: int) -> bool:
    return [one.state for one in await jobs(engine)] == [JobState.COMPLETED] * count


async def test_where_that_fails_each_looks_for_itself(
    engine: AsyncEngine, start: Any, events: Recorder, looks: Looks
) -> None:
    looks.failing = 2
    ids = await fan(engine, 3)
    await start(queues={"default": 10})
    await events.wait_for(JobFinished, count=3)
    assert sorted(map(len, looks.asked)) == [1, 1, 1, 3]
    ends = sorted(event.state for event in events.of(JobFinished))
    assert ends == [JobState.COMPLETED, JobState.COMPLETED, JobState.RETRYABLE]
    assert sorted(looks.asked[0]) == ids


async def test_others_that_are_claimed_with_them_do_not_wait(
    engine: AsyncEngine, start: Any, events: Recorder, looks: Looks
) -> None:
    async def other_ends() -> None:
        await events.wait_for(JobFinished, worker="shop.noop")

    looks.meanwhile = other_ends
    await fan(engine, 2)
    await enqueue(engine, noop.new())
    await start(queues={"default": 10})
    await events.wait_for(JobFinished, count=3)
    assert events.of(JobFinished)[0].worker == "shop.noop"


async def test_those_of_a_node_that_comes_to_count_as_dead_meanwhile_do_not_start(
    engine: AsyncEngine, start: Any, events: Recorder, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    producers: list[Producer] = []
    made = Producer.__init__

    def noted(producer: Producer, *args: Any, **options: Any) -> None:
        made(producer, *args, **options)
        producers.append(producer)

    async def dies_and_lives_again() -> None:
        if len(looks.asked) == 1:
            producers[0].fence()
            producers[0].unfence()

    monkeypatch.setattr(Producer, "__init__", noted)
    looks.meanwhile = dies_and_lives_again
    ids = await fan(engine, 2)
    await start(queues={"default": 10})
    (released,) = await events.wait_for(JobsReleased)
    assert sorted(released.ids) == ids
    await events.wait_for(JobFinished, count=2)
    await eventually(lambda: completed(engine, 2), "both to run after all")
    assert {one.attempt for one in await jobs(engine)} == {1}
