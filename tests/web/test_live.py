"""Pages that stay up to date, and questions that are asked once for all who look."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import SqlaOban
from sqla_oban.errors import TooSlow
from sqla_oban.web import dashboard, live
from sqla_oban.web.shared import Shared
from tests.queries.table import Table
from tests.support import PATIENCE


async def test_those_who_ask_the_same_get_the_answer_to_one_question() -> None:
    asked, shared, answer = [], Shared(lifetime=60), asyncio.Event()

    async def question() -> int:
        asked.append(1)
        await answer.wait()
        return len(asked)

    waiting = [asyncio.create_task(shared.get("counts", question)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # who goes away leaves the others their answer
    answer.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1]
    assert await shared.get("counts", question) == 1
    assert await shared.get("other", question) == 2
    shared.forget()
    assert await shared.get("counts", question) == 3


async def test_an_answer_can_be_good_for_longer_than_others() -> None:
    shared, asked = Shared(lifetime=0), iter(range(9))

    async def question() -> int:
        return next(asked)

    for _ in range(2):
        assert await shared.get("diagnosis", question, lifetime=60) == 0
        await asyncio.sleep(0.01)  # time itself is what passes here


async def test_a_question_that_failed_is_asked_again() -> None:
    shared, answers = Shared(lifetime=60), iter([TooSlow("later"), 7])

    async def question() -> Any:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    with pytest.raises(TooSlow):
        await shared.get("counts", question)
    assert await shared.get("counts", question) == 7


async def test_a_stream_tells_of_trouble_and_goes_on() -> None:
    answers = iter(["a", TooSlow("too slow"), "a", "b\nc"])

    async def render() -> str:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return str(answer)

    stream = live._events(render, 0, asyncio.Event())
    said = [await anext(stream) for _ in range(5)]
    await stream.aclose()
    assert said[1:] == [
        "event: page\ndata: a\n\n", "event: trouble\ndata: too slow\n\n", ": as before\n\n",
        "event: page\ndata: b\ndata: c\n\n",
    ]  # fmt: skip


async def test_a_page_is_streamed_to_those_only_who_may_see_it(
    table: Table, engine: AsyncEngine, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LASTS", 0.0)
    await table.add(worker="'shop.first'")
    for may, status in ((True, 200), (False, 403)):
        url = await serve(dashboard(SqlaOban(engine), authorize=lambda *_, may=may: may))
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            answer = await http.get(f"{url}/jobs?live=1")
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/event-stream" if may else "text/html")
