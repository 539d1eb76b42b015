import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

import pytest

from sqla_oban.engine import service as module
from sqla_oban.engine.service import Service
from sqla_oban.telemetry.events import ServiceFailed
from tests.support import Recorder, eventually


class Turns(Service):
    """Counts its turns; each does what it is told, and says when the next is due."""

    def __init__(self, *, interval: float | None = None, delay: float | None = None) -> None:
        super().__init__(node="here", interval=interval)
        self.turns = 0
        self.delay = delay
        self.work: Callable[[], Awaitable[None]] | None = None

    async def tick(self) -> float | None:
        self.turns += 1
        if self.work is not None:
            await self.work()
        return self.delay

    async def taken(self, turns: int) -> None:
        await eventually(lambda: self.turns >= turns, f"{turns} turns, not {self.turns}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after a failure take no time."""
    monkeypatch.setattr(module, "reconnect", lambda failures: 0.001 * failures)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop does not wait for long."""
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.05)


def tasks_of_services() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("sqla_oban ")]


async def test_a_service_takes_its_first_turn_at_once_and_waits_until_it_is_woken() -> None:
    async with Turns() as service:
        await service.taken(1)
        service.wake()
        await service.taken(2)
        assert service.turns == 2
    assert tasks_of_services() == []


@pytest.mark.parametrize("pace", [{"interval": 0.001}, {"interval": 3600, "delay": 0.0}], ids=["interval", "own-delay"])
async def test_a_service_takes_turns_by_itself(pace: dict[str, float]) -> None:
    async with Turns(**pace) as service:
        await service.taken(5)


async def test_stopping_before_the_start_and_twice_does_nothing() -> None:
    service = Turns()
    await service.stop()
    await service.start()
    await service.taken(1)
    await service.stop()
    await service.stop()
    assert service.turns == 1


async def test_a_service_can_be_started_again() -> None:
    service = Turns()
    for turns in (1, 2, 3):
        await service.start()
        await service.taken(turns)
        await service.stop()
    assert service.turns == 3


async def test_starting_it_while_it_runs_does_nothing() -> None:
    service = Turns()
    await service.start()
    await service.taken(1)
    await service.start()
    running = tasks_of_services()
    await service.stop()
    assert (running, tasks_of_services()) == (["sqla_oban Turns"], [])


async def test_two_that_stop_it_at_the_same_time_do_not_disturb_each_other() -> None:
    service = Turns()
    await service.start()
    await asyncio.gather(service.stop(), service.stop())
    assert tasks_of_services() == []


async def test_waking_what_is_not_running_does_nothing() -> None:
    service = Turns()
    service.wake()
    await service.start()
    await service.taken(1)
    await service.stop()
    service.wake()
    assert service.turns == 1


async def test_a_service_can_be_woken_from_another_thread() -> None:
    async with Turns() as service:
        await service.taken(1)
        await asyncio.to_thread(service.wake)
        await service.taken(2)


def test_waking_a_service_whose_loop_is_closed_does_nothing() -> None:
    service = Turns()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(service.start())
    assert service._task is not None
    service._task.cancel()
    loop.run_until_complete(asyncio.gather(service._task, return_exceptions=True))
    loop.close()
    turns = service.turns
    service.wake()
    assert service.turns == turns


async def test_a_wake_up_during_a_turn_is_not_lost() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go_on.wait()

    service = Turns()
    service.work = work
    async with service:
        await begun.wait()
        service.wake()
        go_on.set()
        await service.taken(2)


async def test_a_stop_waits_for_the_turn_that_is_being_taken_and_takes_no_other() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    ended: list[bool] = []

    async def work() -> None:
        begun.set()
        await go_on.wait()
        ended.append(True)

    service = Turns(delay=0.0)
    service.work = work
    await service.start()
    await begun.wait()
    stopping = asyncio.create_task(service.stop())
    service.wake()
    await asyncio.wait([stopping], timeout=0.01)
    waited = not stopping.done()
    go_on.set()
    await stopping
    assert waited
    assert (ended, service.turns) == ([True], 1)


async def test_a_turn_that_fails_is_reported_and_tried_again(
    quick: None, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    service = Turns()

    async def work() -> None:
        if service.turns < 4:
            raise ValueError(f"no {service.turns}")

    service.work = work
    with caplog.at_level(logging.WARNING):
        async with service:
            await service.taken(4)
    failures = events.of(ServiceFailed)
    assert [(one.node, one.service, one.error) for one in failures] == [
        *(("here", "Turns", f"no {turn}") for turn in (1, 2, 3))
    ]
    assert [one.retry_in for one in failures] == [0.001, 0.002, 0.003]
    assert caplog.text.count("Turns failed and is tried again") == 1


async def test_pauses_begin_anew_after_a_turn_that_succeeded(quick: None, events: Recorder) -> None:
    service = Turns(delay=0.0)

    async def work() -> None:
        if service.turns % 2:
            raise ValueError

    service.work = work
    async with service:
        await service.taken(6)
    assert {one.retry_in for one in events.of(ServiceFailed)} == {0.001}


async def test_a_cancellation_of_something_else_is_a_failure_like_any_other(quick: None, events: Recorder) -> None:
    service = Turns()

    async def work() -> None:
        if service.turns == 1:
            raise asyncio.CancelledError("a task of the driver's")

    service.work = work
    async with service:
        await service.taken(2)
    assert [one.error for one in events.of(ServiceFailed)] == ["a task of the driver's"]


async def test_wake_ups_do_not_cut_the_pause_after_a_failure_short_but_a_stop_does(
    events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "reconnect", lambda _: 3600.0)
    service = Turns()

    async def work() -> None:
        raise ValueError

    service.work = work
    await service.start()
    await events.wait_for(ServiceFailed)
    turns = service.turns
    service.wake()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert service.turns == turns
    await service.stop()
    assert tasks_of_services() == []


async def test_a_turn_that_never_ends_is_cancelled(impatient: None, caplog: pytest.LogCaptureFixture) -> None:
    cancelled: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    service = Turns()
    service.work = work
    await service.start()
    await service.taken(1)
    await service.stop()
    assert cancelled == [True]
    assert "Turns did not stop within 0.05 s and is cancelled" in caplog.text


async def test_a_stop_gives_up_on_a_turn_that_will_not_even_be_cancelled(impatient: None) -> None:
    go_on = asyncio.Event()

    async def work() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    service = Turns()
    service.work = work
    await service.start()
    await service.taken(1)
    await service.stop()
    left = tasks_of_services()
    go_on.set()
    await eventually(lambda: tasks_of_services() == [])
    assert left == ["sqla_oban Turns"]


async def test_pauses_differ_by_a_tenth_at_most() -> None:
    service = Turns(interval=10)
    pauses = [service._jittered() or 0 for _ in range(100)]
    assert all(9 <= pause <= 11 for pause in pauses)
    assert len(set(pauses)) > 1


async def test_a_service_runs_beside_others_in_a_loop_of_another_thread() -> None:
    service = Turns()
    ready, finish = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        async with service:
            ready.set()
            await asyncio.to_thread(finish.wait)

    thread = threading.Thread(target=asyncio.run, args=[elsewhere()])
    thread.start()
    await asyncio.to_thread(ready.wait)
    service.wake()
    await service.taken(2)
    finish.set()
    await asyncio.to_thread(thread.join)
    assert service.turns >= 2
