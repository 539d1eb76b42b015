"""The signals by which a process is asked to end."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
