"""What jobs of workflows may know of the rest is looked up for all who ask at once."""

import asyncio
from typing import Any

import pytest

from sqla_oban.engine.parts import Parts
from tests.support import eventually


class Table:
    """Rows of `PLACES` for jobs of workflow 7, and who has asked for them."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[list[int]] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def look(self, ids: list[int]) -> list[list[Any]]:
        self.asked.append(ids)
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        upstream = '{"a": {"id": 1, "state": "completed", "result": 5}}'
        return [[job, 7, upstream, '{"day": [1]}' if job == ids[0] else None] for job in ids if job < 100]


async def test_all_who_ask_in_one_turn_share_a_look_and_a_context() -> None:
    table = Table()
    parts = Parts(table.look)
    one, other, stranger = await asyncio.gather(parts.of(2), parts.of(3), parts.of(100))
    assert table.asked == [[2, 3, 100]]
    assert one is not None
    assert other is not None
    assert stranger is None
    assert one.workflow_id == other.workflow_id == 7
    assert one.upstream["a"].result == other.upstream["a"].result == 5
    one.context["day"].append(2)  # what one job does to its own is nothing to others
    assert other.context == {"day": [1]}


async def test_who_asks_later_is_looked_up_by_another_look() -> None:
    table = Table()
    table.answers.clear()
    parts = Parts(table.look)
    asking = [asyncio.create_task(parts.of(2))]
    await eventually(lambda: bool(table.asked))
    asking.append(asyncio.create_task(parts.of(3)))
    await eventually(lambda: len(table.asked) == 2)
    table.answers.set()
    assert all(await asyncio.gather(*asking))


async def test_a_job_that_is_cancelled_meanwhile_takes_no_other_along() -> None:
    table = Table()
    table.answers.clear()
    parts = Parts(table.look)
    asking = [asyncio.create_task(parts.of(job)) for job in (2, 3)]
    await eventually(lambda: bool(table.asked))
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    table.answers.set()
    assert await asking[1] is not None


async def test_all_hear_of_a_look_that_failed_and_the_next_is_a_new_one() -> None:
    table = Table(OSError("cut"))
    parts = Parts(table.look)
    results = await asyncio.gather(parts.of(2), parts.of(3), return_exceptions=True)
    assert [str(result) for result in results] == ["cut", "cut"]
    table.error = None
    assert await parts.of(2) is not None


@pytest.mark.parametrize("text", [None, "{}"])
async def test_nothing_is_said_and_nothing_was_waited_for(text: str | None) -> None:
    async def look(ids: list[int]) -> list[list[Any]]:
        return [[job, 7, text, text] for job in ids]

    part = await Parts(look).of(2)
    assert part is not None
    assert part.context == part.upstream == {}
