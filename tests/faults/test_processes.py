"""What happens when nodes die, end, and compete; with real processes."""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Job, JobState, Peer
from sqla_oban.queries.producers import producer_id
from sqla_oban.settings import HeartbeatSettings, LifelineSettings
from tests.shop import block_the_loop, noop, record, record_and_stay, record_both_ends, runs
from tests.support import PATIENCE, enqueue, eventually, jobs

ORPHAN = """
    WITH gone AS (
      INSERT INTO oban_producers (uuid, node, queue, meta, updated_at)
      VALUES (CAST(:holder AS uuid), 'gone', 'elsewhere', '{"ttl"\\: 1}', '2020-01-01') RETURNING uuid
    )
    INSERT INTO oban_jobs (worker, queue, state, attempt, attempted_at, attempted_by)
    SELECT 'shop.noop', 'elsewhere', 'executing', 1, '2020-01-01', ARRAY['gone', uuid\\:\\:text] FROM gone
"""


LEASE = select(Peer.node, Peer.started_at, Peer.expires_at)


async def all_ended(engine: AsyncEngine) -> bool:
    ended = {JobState.COMPLETED, JobState.DISCARDED, JobState.CANCELLED}
    return {job.state for job in await jobs(engine)} <= ended


async def leader(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(LEASE)).one_or_none()


async def test_four_processes_run_each_of_5000_jobs_exactly_once(engine: AsyncEngine, spawn: Any) -> None:
    for _ in range(4):
        await spawn(queues={"default": 20})
    foreign = [Job(worker="nobody.knows.me", priority=12, max_attempts=1), Job(worker="shop.noop", priority=12)]
    await enqueue(engine, *foreign, *(record.new() for _ in range(5_000)))
    await eventually(lambda: all_ended(engine), "all jobs to end", patience=120)

    counts = Counter(run.job_id for run in await runs(engine))
    assert len(counts) == 5_000
    assert set(counts.values()) == {1}
    stored = await jobs(engine)
    assert {job.attempt for job in stored} == {1}
    assert stored[0].state is JobState.DISCARDED
    assert "nobody.knows.me" in stored[0].errors[0]["error"]
    assert stored[1].state is JobState.COMPLETED
    assert len({run.pid for run in await runs(engine)}) > 1


async def test_jobs_of_a_killed_process_run_again_elsewhere_within_30_seconds(engine: AsyncEngine, spawn: Any) -> None:
    victim = await spawn(fast=False, queues={"default": 5})
    ids = await enqueue(engine, *(record_and_stay.new() for _ in range(3)))

    async def begun() -> bool:
        return len(await runs(engine)) == len(ids)

    await eventually(begun, "the jobs to begin")
    await spawn(fast=False, queues={"default": 5})
    await victim.kill()
    await eventually(lambda: all_ended(engine), "the jobs to be rescued", patience=60)
    assert HeartbeatSettings().ttl + 1.1 * LifelineSettings().interval < 30, "where nodes have the time they need"

    for job in await jobs(engine):
        assert job.state is JobState.COMPLETED
        assert job.attempt == 2
        assert job.meta["rescued"] == 1
        assert "disappeared" in job.errors[0]["error"]
    assert (
        sorted((run.attempt, run.pid == victim.pid) for run in await runs(engine)) == [(1, True)] * 3 + [(2, False)] * 3
    )


async def test_an_exhausted_job_of_a_killed_process_is_discarded(engine: AsyncEngine, spawn: Any) -> None:
    victim = await spawn(mortal=True, queues={"default": 5})
    await spawn(queues={"other": 5})
    await enqueue(engine, record_and_stay.with_options(max_attempts=1).new())

    async def begun() -> bool:
        return len(await runs(engine)) == 1

    await eventually(begun, "the job to begin")
    await victim.kill()
    await eventually(lambda: all_ended(engine), "the job to be discarded")
    (job,) = await jobs(engine)
    assert job.state is JobState.DISCARDED
    assert job.discarded_at is not None


async def test_a_job_that_outlives_every_timer_on_a_live_process_is_never_run_twice(
    engine: AsyncEngine, spawn: Any
) -> None:
    for _ in range(2):
        await spawn(mortal=True, queues={"default": 5})
    await enqueue(engine, record_both_ends.new(6.0))  # as long as a lease holds, and through many looks for the dead
    await eventually(lambda: all_ended(engine), "the job to end")
    assert [run.note for run in await runs(engine)] == ["begin", "end"]
    (job,) = await jobs(engine)
    assert job.attempt == 1


async def test_sigterm_lets_running_jobs_end(engine: AsyncEngine, spawn: Any) -> None:
    node = await spawn(queues={"default": 5}, shutdown_grace_period=PATIENCE / 2)
    await enqueue(engine, record_both_ends.new(1.5))

    async def begun() -> bool:
        return len(await runs(engine)) == 1

    await eventually(begun, "the job to begin")
    assert await node.terminate() == 0
    assert [run.note for run in await runs(engine)] == ["begin", "end"]
    (job,) = await jobs(engine)
    assert job.state is JobState.COMPLETED


async def test_sigterm_hands_back_what_does_not_end_and_refunds_the_attempt(engine: AsyncEngine, spawn: Any) -> None:
    node = await spawn(queues={"default": 2}, shutdown_grace_period=0.2)
    await enqueue(engine, *(record_and_stay.new() for _ in range(3)))

    async def begun() -> bool:
        return len(await runs(engine)) == 2

    await eventually(begun, "the jobs to begin")
    assert await node.terminate() == 0
    assert await node.said() == "stopped 2"
    for job in await jobs(engine):
        assert job.state is JobState.AVAILABLE
        assert job.attempt == 0
        assert job.errors == []
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM oban_producers")) == 0
        assert await connection.scalar(text("SELECT count(*) FROM oban_peers")) == 0


async def test_when_the_leader_is_killed_another_takes_over_when_its_lease_ends_and_not_before(
    engine: AsyncEngine, spawn: Any
) -> None:
    brief = {"ttl": 2.0, "margin": 0.3}
    first = await spawn(queues={"default": 1}, node="first", leader=brief)

    async def is_led_by(node: str) -> bool:
        row = await leader(engine)
        return row is not None and row.node == node

    await eventually(lambda: is_led_by("first"), "the first to lead")
    nodes = {"first": first, "second": await spawn(queues={"default": 1}, node="second", leader=brief)}
    async with engine.begin() as connection:  # nobody takes it, or renews it, until it is seen how long it holds
        lease = (await connection.execute(LEASE.with_for_update())).one()
        await nodes.pop(lease.node).kill()  # the first, unless it was late
    (heir,) = nodes
    await eventually(lambda: is_led_by(heir), "the other to lead")
    assert (await leader(engine)).started_at >= lease.expires_at
    await enqueue(engine, noop.new())
    await eventually(lambda: all_ended(engine), "the job to run")


async def test_a_leader_whose_loop_is_blocked_goes_on_rescuing(engine: AsyncEngine, spawn: Any) -> None:
    await spawn(queues={"default": 1})
    await enqueue(engine, block_the_loop.new(8.0))

    async def begun() -> bool:
        return len(await runs(engine)) == 1

    await eventually(begun, "the job to begin")
    async with engine.begin() as connection:
        await connection.execute(text(ORPHAN), {"holder": str(producer_id())})

    async def rescued() -> bool:
        blocking, orphan = await jobs(engine)
        return (blocking.state, orphan.state) == (JobState.EXECUTING, JobState.AVAILABLE)

    await eventually(rescued, "the orphan to be rescued while the loop is blocked")


async def test_a_job_that_blocks_the_event_loop_does_not_make_its_node_look_dead(
    engine: AsyncEngine, spawn: Any
) -> None:
    await spawn(mortal=True, queues={"default": 1})
    await enqueue(engine, block_the_loop.new(4.0))

    async def begun() -> bool:
        return len(await runs(engine)) == 1

    await eventually(begun, "the job to begin")
    await spawn(queues={"default": 1})
    await eventually(lambda: all_ended(engine), "the job to end")
    assert [run.note for run in await runs(engine)] == ["begin", "end"]
    (job,) = await jobs(engine)
    assert job.attempt == 1
    assert "rescued" not in job.meta


async def test_a_process_for_jobs_does_not_outlive_its_killed_runner(engine: AsyncEngine, spawn: Any) -> None:
    queues = {"default": {"limit": 1, "executor": "process"}}
    victim = await spawn(fast=False, queues=queues)
    await enqueue(engine, record_and_stay.new())

    async def begun() -> bool:
        return len(await runs(engine)) == 1

    await eventually(begun, "the job to begin", patience=240)
    [run] = await runs(engine)
    assert run.pid != victim.pid
    await victim.kill()
    await eventually(lambda: not Path(f"/proc/{run.pid}").exists(), "the process to end", patience=60)
    await spawn(fast=False, queues=queues)
    await eventually(lambda: all_ended(engine), "the job to be rescued", patience=240)
    [job] = await jobs(engine)
    assert (job.state, job.attempt) == (JobState.COMPLETED, 2)


async def test_a_killed_process_fails_its_job_and_not_its_runner(engine: AsyncEngine, spawn: Any) -> None:
    await spawn(fast=False, queues={"default": {"limit": 1, "executor": "process"}})
    await enqueue(engine, record_and_stay.with_options(max_attempts=1).new(), noop.new())

    async def begun() -> bool:
        return len(await runs(engine)) == 1

    await eventually(begun, "the job to begin", patience=240)
    [run] = await runs(engine)
    os.kill(run.pid, signal.SIGKILL)
    await eventually(lambda: all_ended(engine), "the jobs to end", patience=240)
    killed, other = await jobs(engine)
    assert (killed.state, other.state) == (JobState.DISCARDED, JobState.COMPLETED)
    assert "was killed by SIGKILL" in killed.errors[0]["error"]
