"""Whether more processes on one queue make it faster, or at least not slower."""

from collections.abc import Mapping, Sequence

from benchmarks.crowd import drain_by_many
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit

CONCURRENCY = 20


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
        return {lane.variant: drain_by_many(lane, self.scale, nodes=number, concurrency=CONCURRENCY)}
