"""The workers as oban.py has them; `workers.py` has ours under the same names."""

import asyncio
import json
from typing import Any

from oban import Cancel, Job, Record, Snooze, worker
from psycopg_pool import AsyncConnectionPool

RELEASED = asyncio.Event()
POOL: Any = None


def connect(dsn: str) -> AsyncConnectionPool:
    """The pool of oban.py and of its workers."""
    global POOL  # noqa: PLW0603 (a worker is made without arguments)
    POOL = AsyncConnectionPool(dsn, min_size=2, max_size=12, open=False)
    return POOL


async def ran(job: Job, note: Any = None) -> None:
    async with POOL.connection() as connection:
        await connection.execute(
            "INSERT INTO runs (job_id, runner, note) VALUES (%s, 'oban.py', %s)", (job.id, json.dumps(note))
        )


@worker()
class Count:
    """Runs once, or fails."""

    async def process(self, job: Job) -> None:
        await ran(job)


@worker()
class Echo:
    """Notes what it was given."""

    async def process(self, job: Job) -> None:
        await ran(job, job.args)


@worker()
class Wait:
    """Runs until it is told to end."""

    async def process(self, job: Job) -> Any:
        while not RELEASED.is_set():
            if job.cancelled():
                return Cancel("told to")
            await asyncio.sleep(0.01)
        return None


@worker()
class Stubborn:
    """Runs until it is released, whoever cancels it, and fails then."""

    async def process(self, job: Job) -> None:
        await RELEASED.wait()
        raise RuntimeError("failed in oban.py")

    def backoff(self, job: Job) -> int:
        return 3600


@worker()
class Fail:
    """Fails here; ours succeeds."""

    async def process(self, job: Job) -> None:
        raise RuntimeError("failed in oban.py")

    def backoff(self, job: Job) -> int:
        return 3600


@worker()
class Finish:
    """Succeeds here; ours fails."""

    async def process(self, job: Job) -> None:
        await ran(job, {"attempt": job.attempt, "errors": len(job.errors)})


@worker()
class Doze:
    """Wants to run later."""

    async def process(self, job: Job) -> Snooze:
        return Snooze(3600)


@worker()
class Keep:
    """Keeps a value."""

    async def process(self, job: Job) -> Record:
        return Record({"pages": [1, 2]})
