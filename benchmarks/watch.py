"""Waiting until jobs have started in another process."""

import time
from collections.abc import Sequence

from benchmarks.failure import Unmeasured
from benchmarks.process import Process

LOOK = 0.1
"""Seconds between two looks."""

Start = tuple[int, float]


def starts_of(node: Process, count: int, *, within: float) -> Sequence[Start]:
    """The first `count` starts of jobs that a serving process has seen, in their order.

    Raises:
        Unmeasured: there are fewer, `within` seconds from now.
    """
    deadline = time.monotonic() + within
    while (started := node.ask("seen")["count"]) < count:
        if time.monotonic() > deadline:
            raise Unmeasured(f"started {started} of {count} jobs within {within:g} s")
        time.sleep(LOOK)
    return [(number, at) for number, at in node.ask("seen", each=True)["starts"][:count]]
