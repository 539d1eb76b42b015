"""How soon a scheduled job starts after it is due."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import BARE, EVERYONE
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours, percentile
from benchmarks.units import Unit
from benchmarks.watch import starts_of

AHEAD = 3.0
"""Seconds until the first job is due."""
EVERY = 0.05
P50, P99 = "p50", "p99"


class Schedule(Scenario):
    """From the moment a job is due to its start."""

    name = "schedule"
    title = "From the due moment to the start"
    about = (
        "Jobs are put in that become due one after the other, 20 a second, the first in three seconds; a process at "
        "concurrency 10 runs them."
    )
    contenders = tuple(entrant for entrant in EVERYONE if entrant != BARE)

    def columns(self) -> Mapping[str, Unit]:
        return {P50: Unit.MILLISECONDS, P99: Unit.MILLISECONDS}

    def goals(self) -> Sequence[Goal]:
        return [
            Goal("a scheduled job's start after it is due, p50 in ms", ours(P50), at_most=25),
            Goal("a scheduled job's start after it is due, p99 in ms", ours(P99), at_most=100),
        ]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        jobs = self.scale.samples
        with lane.process() as node, lane.process() as process:
            node.ask("serve", concurrency=10)
            due = process.ask("schedule", jobs=jobs, ahead=AHEAD, every=EVERY)["due"]
            starts = dict(starts_of(node, jobs, within=AHEAD + jobs * EVERY + self.scale.budget))
        late = [(starts[number] - moment) * 1000 for number, moment in due]
        return {P50: percentile(late, 50), P99: percentile(late, 99)}
