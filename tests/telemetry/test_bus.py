import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sqla_oban import telemetry
from sqla_oban.telemetry import bus
from sqla_oban.telemetry.events import Beaten, Event, LeadershipGained, LeadershipLost


class Kept:
    """A handler that keeps what it is called with."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    yield handler
    telemetry.detach(handler)


def test_a_handler_gets_the_events_of_its_kinds_and_no_others(kept: Kept) -> None:
    telemetry.attach(kept, Beaten, LeadershipLost)
    told = [Beaten(node="a"), LeadershipGained(node="a"), LeadershipLost(node="b")]
    for event in told:
        telemetry.emit(event)
    assert kept.events == [told[0], told[2]]


def test_a_handler_of_events_as_such_gets_them_all(kept: Kept) -> None:
    telemetry.attach(kept, Event)
    told = [Beaten(node="a"), LeadershipGained(node="a"), LeadershipLost(node="b")]
    for event in told:
        telemetry.emit(event)
    assert kept.events == told
    assert bus.wanted(Beaten)
    telemetry.detach(kept)
    telemetry.emit(Beaten(node="a"))
    assert kept.events == told
    assert not bus.wanted(Beaten)


@dataclass
class Counter:
    """A handler that has equals, and so no hash."""

    count: int = 0

    def __call__(self, _: Event) -> None:
        self.count += 1


def test_a_handler_need_not_be_hashable() -> None:
    counter = Counter()
    telemetry.attach(counter, Beaten, Event)
    telemetry.emit(Beaten(node="a"))
    assert counter.count == 1
    telemetry.detach(counter)
    telemetry.emit(Beaten(node="a"))
    assert counter.count == 1


def test_attaching_again_changes_nothing(kept: Kept) -> None:
    telemetry.attach(kept, Beaten)
    telemetry.attach(kept, Beaten, Beaten)
    telemetry.emit(Beaten(node="a"))
    assert len(kept.events) == 1


def test_a_detached_handler_gets_nothing(kept: Kept) -> None:
    telemetry.attach(kept, Beaten, LeadershipLost)
    telemetry.detach(kept)
    telemetry.emit(Beaten(node="a"))
    telemetry.emit(LeadershipLost(node="a"))
    assert kept.events == []


def test_detaching_what_is_not_attached_is_ignored(kept: Kept) -> None:
    other = Kept()
    telemetry.attach(kept, Beaten)
    telemetry.detach(other)
    telemetry.emit(Beaten(node="a"))
    assert len(kept.events) == 1


def test_handlers_are_called_in_the_order_of_attachment() -> None:
    called: list[str] = []

    def first(_: Event) -> None:
        called.append("first")

    def second(_: Event) -> None:
        called.append("second")

    telemetry.attach(first, Beaten)
    telemetry.attach(second, Beaten)
    telemetry.emit(Beaten(node="a"))
    telemetry.detach(first)
    telemetry.detach(second)
    assert called == ["first", "second"]


def test_a_handler_that_raises_is_logged_and_harms_nobody(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Event) -> None:
        raise ValueError("no such gauge")

    telemetry.attach(broken, Beaten)
    telemetry.attach(kept, Beaten)
    with caplog.at_level(logging.ERROR):
        telemetry.emit(Beaten(node="a"))
    telemetry.detach(broken)
    assert len(kept.events) == 1
    assert "failed on Beaten" in caplog.text
    assert "no such gauge" in caplog.text


def test_a_handler_may_detach_itself_while_it_is_called(kept: Kept) -> None:
    def once(event: Event) -> None:
        telemetry.detach(once)
        kept(event)

    telemetry.attach(once, Beaten)
    telemetry.emit(Beaten(node="a"))
    telemetry.emit(Beaten(node="b"))
    assert [event.node for event in kept.events] == ["a"]


def test_a_kind_is_wanted_only_while_somebody_listens(kept: Kept) -> None:
    before = bus.wanted(Beaten)
    telemetry.attach(kept, Beaten)
    during = bus.wanted(Beaten)
    telemetry.detach(kept)
    assert (before, during, bus.wanted(Beaten)) == (False, True, False)


def test_a_handler_is_called_on_the_thread_of_the_event(kept: Kept) -> None:
    threads: list[int] = []

    def where(_: Event) -> None:
        threads.append(threading.get_ident())

    telemetry.attach(where, Beaten)
    thread = threading.Thread(target=telemetry.emit, args=[Beaten(node="a")])
    thread.start()
    thread.join()
    telemetry.detach(where)
    assert threads == [thread.ident]


def test_handlers_come_and_go_from_several_threads_and_none_is_lost() -> None:
    """Events come from three threads, and so may those who listen."""
    handlers = [Kept() for _ in range(200)]
    begin = threading.Barrier(4)

    def come(some: list[Kept]) -> None:
        begin.wait()
        for one in some:
            telemetry.attach(one, Beaten, LeadershipLost)

    threads = [threading.Thread(target=come, args=(handlers[part::4],)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    telemetry.emit(Beaten(node="a"))
    for handler in handlers:
        telemetry.detach(handler)
    telemetry.emit(Beaten(node="b"))
    assert {len(handler.events) for handler in handlers} == {1}
