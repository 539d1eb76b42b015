"""The second thread."""

import asyncio
import threading

import pytest

from sqla_oban.engine.pulse import Pulse


async def where() -> str:
    return threading.current_thread().name


async def fail() -> None:
    raise ValueError("in the pulse")


async def test_work_runs_in_the_pulse_and_its_result_and_error_come_back() -> None:
    pulse = Pulse()
    pulse.start()
    assert await pulse.run(where()) == "sqla_oban pulse"
    with pytest.raises(ValueError, match="in the pulse"):
        await pulse.run(fail())
    await pulse.stop()
    await pulse.stop()


async def test_what_still_runs_is_cancelled_at_the_end() -> None:
    pulse, cancelled = Pulse(), threading.Event()

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    pulse.start()
    staying = asyncio.create_task(pulse.run(stay()))
    await pulse.run(where())
    await pulse.stop()
    assert cancelled.is_set()
    with pytest.raises(asyncio.CancelledError):
        await staying


def test_the_pulse_ends_with_the_loop_that_started_it() -> None:
    async def forget_to_stop() -> threading.Thread:
        others = set(threading.enumerate())  # a pulse of another test may not have ended yet
        Pulse().start()
        return next(one for one in set(threading.enumerate()) - others if one.name == "sqla_oban pulse")

    thread = asyncio.run(forget_to_stop())
    thread.join(timeout=30)
    assert not thread.is_alive()
