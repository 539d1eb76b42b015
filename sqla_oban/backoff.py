"""How long a failed job waits before it is tried again."""

import random

CLAMP = 20
"""Attempts of a job with more than this many are scaled down to it, so that the last waits stay under two weeks."""


def exponential(attempt: int, max_attempts: int, *, jitter: float = 0.1) -> float:
    """Seconds to wait after `attempt` failed: `15 + 2^n`, plus up to `jitter` of it at random.

    `n` is the attempt itself, or its share of 20 steps for a job that may be tried more often than that. The first
    waits are about 17, 19, 23, 31, 47 seconds; the twentieth is about twelve days. The rule is Oban's, so that jobs
    behave the same whichever library runs them; the jitter keeps jobs that failed together from coming back together.

    Args:
        attempt: the attempt that failed, counted from 1.
        max_attempts: how often the job may be tried in all.
        jitter: the largest random share that is added; 0 makes the result exact.

    >>> exponential(1, 20, jitter=0)
    17.0
    >>> exponential(50, 100, jitter=0) == exponential(10, 20, jitter=0)
    True
    """
    step = attempt if max_attempts <= CLAMP else round(attempt / max_attempts * CLAMP)
    seconds = float(15 + 2 ** min(step, CLAMP))
    return seconds * (1 + random.uniform(0, jitter))


def reconnect(failures: int, *, ceiling: float = 5.0) -> float:
    """Seconds before a service tries again after `failures` failures in a row: 0.1 s doubling up to `ceiling`.

    Half of it is random, so that the nodes of a fleet do not come back at the same moment.

    >>> 0.05 <= reconnect(1) <= 0.1
    True
    """
    seconds: float = min(ceiling, 0.1 * 2 ** min(failures - 1, 16))
    return seconds * random.uniform(0.5, 1.0)
