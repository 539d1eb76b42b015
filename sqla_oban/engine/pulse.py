"""The thread in which this node's pulse beats: notifier, heartbeat and leader.

A job may block the event loop it runs in for a minute; the proofs that the node lives, the lease, and the reading of
notifications (a listener that does not read holds up the whole server) must go on meanwhile.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LAST_WORDS = 5.0
"""Seconds that what runs in the pulse has to end when it is cancelled."""


class Pulse:
    """An event loop in a daemon thread of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. It ends with the running loop: nobody else could keep what the pulse promises."""
        owner = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._watch = self._loop.create_task(_end_with(owner))  # held, or it could be collected
        self._thread = threading.Thread(target=_beat, args=(self._loop,), name="sqla_oban pulse", daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the pulse's loop and await its result in this one."""
        assert self._loop is not None
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def stop(self) -> None:
        """End the thread; what still runs in it is cancelled."""
        if self._loop is None or self._thread is None:
            return
        loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_cancel_others(), loop))
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)


def _beat(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _end_with(owner: asyncio.AbstractEventLoop) -> None:
    while not owner.is_closed():  # noqa: ASYNC110 (a loop says to nobody that it is closed)
        await asyncio.sleep(1.0)
    await _cancel_others()
    asyncio.get_running_loop().stop()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=LAST_WORDS)
    await asyncio.get_running_loop().shutdown_asyncgens()
