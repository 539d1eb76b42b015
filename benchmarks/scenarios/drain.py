"""How fast a queue of no-op jobs is drained."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import AWA, BARE, GRAPHILE, OBAN, PGQUEUER
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours, rate
from benchmarks.table import Cell
from benchmarks.units import Unit

CONCURRENCIES = {f"concurrency {number:,}": number for number in (10, 100, 1000)}


class Drain(Scenario):
    """By one process, at several concurrencies."""

    name = "drain"
    title = "Draining a queue"
    about = (
        "One process runs no-op async jobs until none is left: from the first job's start until the last outcome is "
        "in the tables. Bare SQL claims and acknowledges batches of that many rows on one connection and runs "
        "nothing in between."
    )

    @property
    def variants(self) -> Sequence[str]:
        return list(CONCURRENCIES)

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(CONCURRENCIES, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        def goal(concurrency: int, rival: str, at_least: float) -> Goal:
            column = f"concurrency {concurrency}"
            return Goal(f"drain, {column}", ours(column), Cell(rival, column), at_least=at_least)

        return [
            goal(100, OBAN.name, 6),
            goal(100, PGQUEUER.name, 2),
            goal(100, AWA.name, 2),
            goal(100, GRAPHILE.name, 1),
            goal(100, BARE.name, 0.6),
            goal(10, OBAN.name, 3),
            goal(10, PGQUEUER.name, 1.5),
        ]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        budget = self.scale.budget
        with lane.filled_process(self.scale.jobs) as process:
            asked = {"jobs": self.scale.jobs, "concurrency": CONCURRENCIES[lane.variant], "whole": True}
            return {lane.variant: rate(process.ask("drain", within=budget, budget=budget, **asked))}
