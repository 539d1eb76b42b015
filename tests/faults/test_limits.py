"""What a node that dies takes along of the limits that it shared with others: nothing, but for a while."""

import os
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState, QueueConfig
from sqla_oban.telemetry.events import JobFinished, JobRescued
from tests.shop import record_and_stay
from tests.support import Recorder, enqueue, eventually, jobs


async def test_the_slots_of_a_node_that_died_come_back(
    engine: AsyncEngine, spawn: Any, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "SHOP_URL", engine.url.render_as_string(hide_password=False))
    dying = await spawn(mortal=True, queues={"default": {"limit": 5, "global_limit": 2}})
    ids = await enqueue(engine, *(record_and_stay.new() for _ in range(2)))

    async def executing() -> bool:
        return [job.state for job in await jobs(engine)] == [JobState.EXECUTING] * 2

    await eventually(executing, "both slots to be taken")
    await start(queues={"default": QueueConfig(limit=5, global_limit=2)}, node="heir")
    await dying.kill()
    await events.wait_for(JobRescued, count=2)
    for id_ in ids:
        await events.wait_for(JobFinished, id=id_, state=JobState.COMPLETED)
