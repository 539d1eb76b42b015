"""Draining a fixed number of jobs from the front."""

from benchmarks.process import Process
from benchmarks.scale import Scale
from benchmarks.scenario import rate

CONCURRENCY = 100
ONE_MORE = 1
"""To be filled in as well: the clock stops when the job after the last starts, so that whole batches are counted."""


def drain_front(process: Process, jobs: int, scale: Scale) -> float:
    """Jobs a second, of those at the front of what waits."""
    asked = {"jobs": jobs + ONE_MORE, "concurrency": CONCURRENCY, "whole": False, "budget": scale.budget}
    return rate(process.ask("drain", within=scale.budget, **asked))
