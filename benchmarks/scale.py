"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of a run.

    Args:
        rounds: how many turns each contender gets; the medians count.
        jobs: how many are drained.
        front: how many are drained from the front of a long backlog.
        backlogs: how many wait.
        kept: how many have ended and are kept.
        long: how many are drained while a snapshot is open, and where a few percent count.
        workflow: how many are the jobs of a workflow.
        commits: how many are put in one by one.
        bulk: how many are put in at once.
        samples: how many latencies are taken.
        window: seconds for which an idle node is watched, or pgbench runs.
        soak: seconds of steady load.
        rate: jobs a second of that load, and of the busy latency.
        sleepers: jobs that sleep while memory is taken.
        burners: jobs that keep a core busy.
        nodes: numbers of processes.
        budget: seconds after which a slow contender's turn ends.
    """

    rounds: int
    jobs: int
    front: int
    backlogs: tuple[int, ...]
    kept: int
    long: int
    workflow: int
    commits: int
    bulk: int
    samples: int
    window: float
    soak: float
    rate: int
    sleepers: int
    burners: int
    nodes: tuple[int, ...]
    budget: float


FULL = Scale(
    rounds=5,
    jobs=20_000,
    front=5_000,
    backlogs=(10_000, 100_000, 1_000_000),
    kept=5_000_000,
    long=100_000,
    workflow=10_000,
    commits=500,
    bulk=10_000,
    samples=200,
    window=20,
    soak=60,
    rate=200,
    sleepers=3_000,
    burners=100,
    nodes=(1, 2, 4, 8, 16),
    budget=30,
)
QUICK = Scale(
    rounds=1,
    jobs=2_000,
    front=500,
    backlogs=(2_000, 20_000),
    kept=50_000,
    long=4_000,
    workflow=2_000,
    commits=100,
    bulk=10_000,
    samples=20,
    window=4,
    soak=5,
    rate=200,
    sleepers=1_500,
    burners=20,
    nodes=(1, 2),
    budget=5,
)
