"""Whether more processes on one queue make it faster, or at least not slower."""

import contextlib
import time
from collections.abc import Mapping, Sequence

from benchmarks.contenders import BARE
from benchmarks.failure import Unmeasured
from benchmarks.goal import Goal
from benchmarks.process import Process
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit

CONCURRENCY = 20
LOOK = 0.1


class Nodes(Scenario):
    """Many processes, one queue."""

    name = "nodes"
    title = "Many processes on one queue"
    about = (
        "So many processes at concurrency 20 each wait on an empty queue; then all jobs are put in by one "
        "transaction. From the first job's start to the last one's, over all processes. Each job must run once: more "
        "starts than jobs would be told here instead of a figure."
    )

    @property
    def variants(self) -> Sequence[str]:
        return [f"{number} process{'es' if number > 1 else ''}" for number in self.scale.nodes]

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(self.variants, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        return [
            Goal(f"throughput of {more}", ours(more), ours(fewer), at_least=0.9)
            for fewer, more in zip(self.variants, self.variants[1:], strict=False)
        ]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        number = self.scale.nodes[self.variants.index(lane.variant)]
        with contextlib.ExitStack() as stack:
            nodes = [stack.enter_context(lane.process()) for _ in range(number)]
            for node in nodes:
                node.request("serve", concurrency=CONCURRENCY)
            for node in nodes:
                node.answer()
            with lane.process(*(["ring"] if lane.entrant == BARE else [])) as process:
                process.ask("insert", jobs=self.scale.jobs)
            return {lane.variant: self._rate(nodes)}

    def _rate(self, nodes: Sequence[Process]) -> float:
        deadline = time.monotonic() + self.scale.budget
        while True:
            seen = [node.ask("seen") for node in nodes]
            count: int = sum(answer["count"] for answer in seen)
            if count >= self.scale.jobs or time.monotonic() > deadline:
                break
            time.sleep(LOOK)
        if count > self.scale.jobs:
            raise Unmeasured(f"started {self.scale.jobs} jobs {count} times")
        moments: list[float] = [moment for answer in seen for moment in answer["moments"]]
        if len(moments) < 2 or max(moments) == min(moments):
            raise Unmeasured(f"started {count} jobs within {self.scale.budget:g} s")
        return count / (max(moments) - min(moments))
