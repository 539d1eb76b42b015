"""The signals by which a process is asked to end."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def leave_when_asked() -> None:
    """Have SIGTERM end the process for as long as nobody handles it: while an application is imported, say.

    To process 1, which a container's command is, the kernel gives no signal that it has not asked for. It would go on,
    claim jobs, and be killed in the middle of them when the patience of whoever asked it is over.
    """
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


@contextlib.contextmanager
def handled(handler: Callable[[], object]) -> Iterator[None]:
    """Have `handler` called on the signals that end a service; put back what was there before.

    Outside the main thread they are left alone.
    """
    loop, before = asyncio.get_running_loop(), {}
    try:
        for number in SIGNALS:
            before[number] = signal.getsignal(number)
            loop.add_signal_handler(number, handler)
    except (ValueError, RuntimeError, NotImplementedError):
        before.clear()
    try:
        yield
    finally:
        for number, previous in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, previous)


async def until_asked(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` until it ends, or until a signal asks to leave; then it is cancelled, and all is well.

    It is a task of its own, so that what follows can await what it must.
    """
    task = asyncio.create_task(work)
    asked = asyncio.Event()

    def leave() -> None:
        asked.set()
        task.cancel()

    with handled(leave):
        await asyncio.wait([task])
    if not (asked.is_set() and task.cancelled()):
        await task
