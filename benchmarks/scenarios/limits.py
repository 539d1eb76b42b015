"""What it costs to hold several nodes to one limit."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import OURS
from benchmarks.crowd import drain_by_many
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit

NODES = 4
CONCURRENCY = 50
PLAIN = "no global limit"
LIMITED = f"global limit {CONCURRENCY}"


class Limits(Scenario):
    """With and without a global limit."""

    name = "limits"
    title = "A limit over all nodes"
    about = (
        "Four processes at concurrency 50 each wait on an empty queue; then all jobs are put in by one transaction. "
        "From the first job's start to the last one's, over all processes. Limited: with `global_limit=50`, so that "
        "no more than 50 jobs run at a time on all four."
    )
    contenders = (OURS,)

    @property
    def variants(self) -> Sequence[str]:
        return [PLAIN, LIMITED]

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(self.variants, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        return [Goal(f"{NODES} processes, {LIMITED}", ours(LIMITED), ours(PLAIN), at_least=0.5)]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        options = ["limited"] if lane.variant == LIMITED else []
        drained = drain_by_many(lane, self.scale, *options, nodes=NODES, concurrency=CONCURRENCY)
        return {lane.variant: drained}
