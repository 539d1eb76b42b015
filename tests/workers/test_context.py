import asyncio
from datetime import datetime

import pytest

from sqla_oban import current_job
from sqla_oban.errors import NoCurrentJob
from sqla_oban.workers.context import RUNNING, RunningJob


def running() -> RunningJob:
    return RunningJob(
        id=7,
        queue="mailers",
        worker="shop.send",
        attempt=2,
        max_attempts=5,
        args={"a": 1},
        claimed_at=datetime(2026, 11, 24, 12),  # noqa: DTZ001 (as the claim returns it)
    )


def test_there_is_no_current_job_outside_of_one() -> None:
    with pytest.raises(NoCurrentJob, match=r"current_job\(\) works only in code that a worker runs"):
        current_job()


async def test_code_that_runs_as_part_of_a_job_knows_it() -> None:
    job = running()

    async def inside() -> tuple[object, ...]:
        RUNNING.set(job)
        here = await asyncio.create_task(same_job())
        there = await asyncio.to_thread(current_job)
        return current_job(), here, there

    async def same_job() -> RunningJob:
        return current_job()

    assert await asyncio.create_task(inside()) == (job, job, job)
    assert (job.id, job.queue, job.worker, job.attempt, job.max_attempts, job.args) == (
        *(7, "mailers", "shop.send", 2, 5),
        {"a": 1},
    )


async def test_a_job_does_not_leak_into_what_runs_beside_it() -> None:
    async def inside() -> None:
        RUNNING.set(running())

    await asyncio.create_task(inside())
    with pytest.raises(NoCurrentJob):
        current_job()


def test_a_job_can_see_that_it_is_to_stop() -> None:
    job = running()
    before = job.cancelled
    job.cancel()
    assert (before, job.cancelled) == (False, True)
