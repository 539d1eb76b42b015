"""How much memory a worker needs."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import BARE, EVERYONE
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit

CONCURRENCY = 1000
NAP = 1.0
WORKER = "worker"
PRODUCER = "producer"


class Memory(Scenario):
    """The peak of what is resident."""

    name = "memory"
    title = "Memory"
    about = (
        "The peak of a process's resident memory. Worker: it runs jobs that sleep for a second, 1000 at a time. "
        "Producer: it puts in thousands of jobs at once."
    )
    contenders = tuple(entrant for entrant in EVERYONE if entrant != BARE)

    @property
    def variants(self) -> Sequence[str]:
        return [WORKER, PRODUCER]

    def columns(self) -> Mapping[str, Unit]:
        return {WORKER: Unit.MEGABYTES, PRODUCER: Unit.MEGABYTES}

    def goals(self) -> Sequence[Goal]:
        return [Goal("worker memory at concurrency 1000, MB", ours(WORKER), at_most=120)]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        if lane.variant == WORKER:
            lane.fill(self.scale.sleepers, nap=NAP)
        with lane.process() as process:
            if lane.variant == WORKER:
                budget = self.scale.budget
                asked = {"jobs": self.scale.sleepers, "concurrency": CONCURRENCY, "whole": True, "budget": budget}
                process.ask("drain", within=budget, **asked)
            else:
                process.ask("insert", jobs=self.scale.bulk)
            return {lane.variant: process.peak_memory()}
