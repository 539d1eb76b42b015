"""A job that keeps a core busy, in a module that a worker process can import."""

from benchmarks.peers.own_table import QUEUE
from sqla_oban import job

STEPS = 400_000
"""How long it takes: some 20 ms."""


@job(name="benchmarks.burn", queue=QUEUE, executor="process")
def burn(number: int) -> None:
    """As a job."""
    keep_busy(number)


def keep_busy(number: int) -> None:
    """Keeps a core busy."""
    total = number
    for step in range(STEPS):
        total += step
