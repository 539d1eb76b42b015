"""How soon a job starts after its commit."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import BARE, PEERS
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours, percentile
from benchmarks.table import Cell
from benchmarks.units import Unit
from benchmarks.watch import starts_of

IDLE = "idle"
BUSY = "busy"
WARM_UP = 3
"""Jobs that are not counted."""
PAUSE = 0.05
"""Seconds between two jobs of an idle queue."""


class Latency(Scenario):
    """From the commit to the start of the job."""

    name = "latency"
    title = "From the commit to the start"
    about = (
        "One process puts in jobs at a steady pace, another runs them at concurrency 10: the time from the return of "
        "the commit to the job's start. Idle: 20 jobs a second; busy: 200. Bare SQL sends a NOTIFY with the INSERT, "
        "and claims when it is heard. Where a job starts before the commit has returned, the time is negative."
    )

    @property
    def variants(self) -> Sequence[str]:
        return [IDLE, BUSY]

    def columns(self) -> Mapping[str, Unit]:
        return {f"{load}, {part}": Unit.MILLISECONDS for load in (IDLE, BUSY) for part in ("p50", "p99")}

    def columns_of(self, variant: str) -> Sequence[str]:
        return [f"{variant}, p50", f"{variant}, p99"]

    def goals(self) -> Sequence[Goal]:
        middle = f"{IDLE}, p50"
        return [
            Goal("commit to start, idle, p50", ours(middle), Cell(BARE.name, middle), at_most=1.5),
            *(Goal("commit to start, idle, p50", ours(middle), Cell(peer.name, middle), at_most=1) for peer in PEERS),
        ]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        every = PAUSE if lane.variant == IDLE else 1 / self.scale.rate
        jobs = self.scale.samples if lane.variant == IDLE else self.scale.samples * 5
        with lane.process() as node, lane.process(*(["ring"] if lane.entrant == BARE else [])) as process:
            node.ask("serve", concurrency=10)
            process.ask("enqueue", jobs=WARM_UP, committers=1, every=0.3)
            starts_of(node, WARM_UP, within=self.scale.budget)
            answer = process.ask("enqueue", within=jobs * every, jobs=jobs, committers=4, every=every)
            starts = dict(starts_of(node, WARM_UP + jobs, within=self.scale.budget)[WARM_UP:])
        waits = [(starts[number] - at) * 1000 for number, at in answer["commits"]]
        p50, p99 = self.columns_of(lane.variant)
        return {p50: percentile(waits, 50), p99: percentile(waits, 99)}
