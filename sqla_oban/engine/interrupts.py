"""The signals by which a process is asked to end."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

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
