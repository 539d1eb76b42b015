"""Falling asleep, where the connection may be lost in the middle of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqla_oban.engine.sleep import Sleep


@dataclass
class Notified:
    """Stands for the notifier's state; what it answers is set by the test."""

    hearing: bool = True
    generation: int = 1
    writing: list[str] = field(default_factory=list)

    async def rest(self, _: str) -> tuple[int, list[str]]:
        return self.generation, list(self.writing)

    async def writers(self, among: list[str] | None) -> list[str]:
        return [writer for writer in self.writing if among is None or writer in among]

    async def leave(self, _: str) -> None: ...


class Here:
    """Stands for the pulse: runs what it is given in this loop."""

    async def run(self, work: Any) -> Any:
        return await work


def sleep(notifier: Notified, on_look: Callable[[], None] = lambda: None) -> Sleep:
    return Sleep(notifier, Here(), "default", on_look=on_look)  # type: ignore[arg-type]


async def test_the_first_fall_looks_once_more_and_the_next_sleeps() -> None:
    falling = sleep(Notified())
    assert await falling.fall() is True
    assert falling.holds_key
    assert await falling.fall() is False
    assert falling.pause is None


async def test_a_writer_that_had_begun_before_is_watched_until_it_ends() -> None:
    notifier, looks = Notified(writing=["3/99"]), list[int]()
    falling = sleep(notifier, on_look=lambda: looks.append(1))
    await falling.fall()
    assert await falling.fall() is False
    assert falling.pause is not None
    assert len(looks) == 1
    notifier.writing.clear()
    assert await falling.fall() is True, "what it wrote may be visible now"
    assert len(looks) == 2, "also what it scheduled"
    assert falling.pause is None


async def test_a_new_connection_has_lost_the_key() -> None:
    notifier = Notified()
    falling = sleep(notifier)
    await falling.fall()
    notifier.generation = 2
    assert not falling.holds_key
    assert await falling.fall() is True


async def test_writers_are_not_forgotten_while_the_notifier_is_deaf_for_a_moment() -> None:
    notifier = Notified(writing=["3/99"])
    falling = sleep(notifier)
    await falling.fall()
    notifier.hearing = False
    assert await falling.fall() is False
    notifier.hearing = True
    assert falling.holds_key
    assert falling.pause is not None


async def test_who_has_no_room_is_not_rung() -> None:
    falling = sleep(Notified())
    await falling.fall()
    await falling.end()
    assert not falling.holds_key


async def test_a_doubt_has_it_look_for_writers_anew() -> None:
    notifier = Notified()
    falling = sleep(notifier)
    await falling.fall()
    assert await falling.fall() is False
    notifier.writing.append("3/99")
    falling.doubt()
    assert await falling.fall() is True
    assert falling.pause is not None
    assert await falling.fall() is False
