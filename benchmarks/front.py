"""Draining a fixed number of jobs from the front."""

from benchmarks.scale import Scale
from benchmarks.scenario import Lane, rate

CONCURRENCY = 100


def drain_front(lane: Lane, scale: Scale, *, jobs: int | None = None) -> float:
    """Jobs a second, of those at the front of what waits."""
    asked = {"jobs": jobs or scale.front, "concurrency": CONCURRENCY, "whole": False, "budget": scale.budget}
    with lane.process() as process:
        return rate(process.ask("drain", within=scale.budget, **asked))
