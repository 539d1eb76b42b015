"""Whether jobs that keep a core busy run side by side."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import OURS, PLAIN
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours, rate
from benchmarks.table import Cell
from benchmarks.units import Unit

PROCESSES = {"1 process": 1, "2 processes": 2}
PATIENCE = 6
"""Budgets that the turn may take: processes have to start first."""


class Cpu(Scenario):
    """By worker processes."""

    name = "cpu"
    title = "Jobs that keep a core busy"
    about = (
        'Jobs of some 20 ms of pure Python with `executor="process"`, by one worker process and by two. Plain '
        "processes do the same work without a queue: two of them show what the second core is worth."
    )
    contenders = (OURS, PLAIN)

    @property
    def variants(self) -> Sequence[str]:
        return list(PROCESSES)

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(PROCESSES, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        one, two = PROCESSES
        return [
            Goal("CPU-bound jobs, 2 processes", ours(two), ours(one), at_least=1.8),
            Goal("CPU-bound jobs, 2 processes", ours(two), Cell(PLAIN.name, two), at_least=0.95),
        ]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        budget = self.scale.budget * PATIENCE
        with lane.process() as process:
            asked = {"jobs": self.scale.burners, "concurrency": PROCESSES[lane.variant], "budget": budget}
            return {lane.variant: rate(process.ask("burn", within=budget, **asked))}
