"""When a producer looks by itself, and when it no longer does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from sqla_oban.engine.hush import EVERY, LULL, RINGS, STUCK, WITHIN, Hush
from tests.support import eventually


@dataclass
class Notified:
    """Stands for the notifier; what it answers is set by the test."""

    hearing: bool = True
    generation: int = 1
    another_hushes: bool = False
    breaks: bool = False
    ended: list[int] = field(default_factory=list)

    async def hush(self, _: str) -> int | None:
        return None if self.another_hushes else self.generation

    async def end_hush(self, _: str, generation: int) -> None:
        self.ended.append(generation)
        if self.breaks:
            raise OSError("the connection broke")


class Here:
    """Stands for the pulse: runs what it is given in this loop."""

    async def run(self, work: Any) -> Any:
        return await work


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sqla_oban.engine.hush.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def nothing() -> None: ...


def made(notifier: Notified, on_look: Callable[[], None] = nothing, on_end: Callable[[], None] = nothing) -> Hush:
    return Hush(notifier, Here(), "default", on_look=on_look, on_end=on_end)  # type: ignore[arg-type]


async def begun(
    notifier: Notified, on_look: Callable[[], None] = nothing, on_end: Callable[[], None] = nothing
) -> Hush:
    hush = made(notifier, on_look, on_end)
    for _ in range(RINGS):
        hush.rung()
    assert await hush.lasts(1)
    return hush


async def test_it_begins_after_many_notices_that_led_to_work(clock: Clock) -> None:
    hush = await begun(Notified())
    assert hush.holds_key


@pytest.mark.parametrize(("rings", "pause", "found"), [(RINGS - 1, 0, 1), (RINGS, 0, 0), (RINGS, WITHIN / 2, 1)])
async def test_a_notice_now_and_then_or_in_vain_is_no_reason(
    rings: int, pause: float, found: int, clock: Clock
) -> None:
    hush = made(Notified())
    for _ in range(rings):
        hush.rung()
        clock.now += pause
    assert not await hush.lasts(found)
    assert not hush.holds_key


@pytest.mark.parametrize("notifier", [Notified(another_hushes=True), Notified(hearing=False)], ids=["taken", "deaf"])
async def test_who_does_not_get_the_key_sleeps(notifier: Notified, clock: Clock) -> None:
    hush = made(notifier)
    for _ in range(RINGS):
        hush.rung()
    assert not await hush.lasts(1)


async def test_it_lasts_as_long_as_there_is_work_now_and_then(clock: Clock) -> None:
    hush = await begun(Notified())
    for found in (0, 0, 1, 0, 0):
        clock.now += LULL / 3
        assert await hush.lasts(found)
    clock.now += LULL
    assert not await hush.lasts(0)


async def test_it_ends_once_and_says_so(clock: Clock) -> None:
    notifier, ends = Notified(), list[int]()
    hush = await begun(notifier, on_end=lambda: ends.append(1))
    await hush.end()
    await hush.end()
    assert (notifier.ended, ends, hush.holds_key) == ([1], [1], False)


async def test_a_new_connection_has_lost_the_key_and_the_others_are_still_told(clock: Clock) -> None:
    notifier = Notified()
    hush = await begun(notifier)
    notifier.generation = 2
    assert not hush.holds_key
    assert not await hush.lasts(1)
    await hush.end()
    assert notifier.ended == [1]


async def test_that_it_could_not_be_told_is_no_error(clock: Clock) -> None:
    ends = list[int]()
    hush = await begun(Notified(breaks=True), on_end=lambda: ends.append(1))
    await hush.end()
    assert (hush.holds_key, ends) == (False, [1])


async def test_it_ends_by_itself_when_nobody_looks(clock: Clock) -> None:
    notifier = Notified()
    await begun(notifier)
    clock.now += STUCK * 2
    await eventually(lambda: notifier.ended == [1], "the watch to end it")


async def test_what_was_scheduled_is_asked_for_now_and_then(clock: Clock) -> None:
    looks = list[int]()
    hush = await begun(Notified(), on_look=lambda: looks.append(1))
    for _ in range(100):
        clock.now += EVERY
        await hush.lasts(1)
    assert 3 <= len(looks) <= 6
