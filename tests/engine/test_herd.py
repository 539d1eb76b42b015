from collections import Counter
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.engine.herd import MOST, PATIENT, Herd
from sqla_oban.telemetry.events import JobFinished
from tests.shop import noop
from tests.support import Recorder, enqueue


def test_who_finds_something_answers_at_once() -> None:
    herd = Herd()
    for found in (0,) * (PATIENT - 1) + (1, 0, 5):
        herd.found(found)
        assert herd.hold_back() == 0


def test_who_looks_in_vain_holds_back_longer_and_longer_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqla_oban.engine.herd.random.uniform", lambda _, most: most)
    herd = Herd()
    held = []
    for _ in range(1_100):
        herd.found(0)
        held.append(herd.hold_back())
    assert held[: PATIENT + 2] == [0] * (PATIENT - 1) + [0.001, 0.002, 0.004]
    assert held[-1] == MOST
    herd.found(1)
    assert herd.hold_back() == 0


async def test_many_nodes_that_hear_one_notice_run_every_job_once(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    for node in range(4):
        await start(queues={"default": 2}, node=f"node-{node}", leadership=False)
    ids = []
    for _ in range(12):
        ids += await enqueue(engine, noop.new())
    await events.wait_for(JobFinished, count=len(ids))
    assert Counter(event.id for event in events.of(JobFinished)) == Counter(ids)
