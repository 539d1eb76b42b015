"""Many processes on one queue."""

import contextlib
import time
from collections.abc import Sequence

from benchmarks.contenders import BARE
from benchmarks.failure import Unmeasured
from benchmarks.process import Process
from benchmarks.scale import Scale
from benchmarks.scenario import Lane

LOOK = 0.1


def drain_by_many(lane: Lane, scale: Scale, *options: str, nodes: int, concurrency: int) -> float:
    """Jobs a second, over all of so many processes that wait on an empty queue when the jobs are put in.

    Raises:
        Unmeasured: jobs ran more than once, or none did.
    """
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(lane.process(*options)) for _ in range(nodes)]
        for process in processes:
            process.request("serve", concurrency=concurrency)
        for process in processes:
            process.answer()
        with lane.process(*(["ring"] if lane.entrant == BARE else [])) as producer:
            producer.ask("insert", jobs=scale.jobs)
        return _rate(processes, scale)


def _rate(processes: Sequence[Process], scale: Scale) -> float:
    deadline = time.monotonic() + scale.budget
    while True:
        seen = [process.ask("seen") for process in processes]
        count: int = sum(answer["count"] for answer in seen)
        if count >= scale.jobs or time.monotonic() > deadline:
            break
        time.sleep(LOOK)
    if count > scale.jobs:
        raise Unmeasured(f"started {scale.jobs} jobs {count} times")
    moments: list[float] = [moment for answer in seen for moment in answer["moments"]]
    if len(moments) < 2 or max(moments) == min(moments):
        raise Unmeasured(f"started {count} jobs within {scale.budget:g} s")
    return count / (max(moments) - min(moments))
