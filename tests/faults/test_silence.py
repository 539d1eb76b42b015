"""Connections that die without a word."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban import JobState, SqlaOban
from sqla_oban.migrations import migrate
from sqla_oban.settings import HeartbeatSettings
from sqla_oban.telemetry.events import Beaten, JobFinished, LivenessLost, RunnerStopped
from sqla_oban.testing import TemporaryPostgres
from tests.faults.proxy import Proxy
from tests.shop import gate, noop, pass_gate
from tests.support import Recorder, both_drivers, enqueue, eventually, fast_settings, jobs


@pytest.fixture(scope="module")
def own_server() -> Iterator[TemporaryPostgres]:
    with TemporaryPostgres() as server:
        yield server


@pytest.fixture
async def proxy(own_server: TemporaryPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxy]:
    directory = Path("/tmp") / tmp_path_factory.mktemp("p").name
    directory.mkdir(exist_ok=True)
    async with Proxy(own_server.directory, directory).open() as open_proxy:
        yield open_proxy
    (directory / ".s.PGSQL.5432").unlink(missing_ok=True)
    directory.rmdir()


@pytest.fixture
async def by_proxy(own_server: TemporaryPostgres, proxy: Proxy, driver: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(proxy.url(own_server.url(driver)))
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
        await connection.execute(text("TRUNCATE oban_jobs, oban_peers, oban_producers RESTART IDENTITY"))
    yield engine
    await engine.dispose()


async def all_completed(engine: AsyncEngine) -> bool:
    return {job.state for job in await jobs(engine)} == {JobState.COMPLETED}


def hurry(oban: SqlaOban, seconds: float) -> None:
    """Let no statement take longer from now on: those of the start may, on a busy machine."""
    assert oban._node is not None
    for link in oban._node._links.values():
        link._timeout = seconds


@both_drivers
async def test_one_silent_connection_of_the_pulse_costs_no_job(
    by_proxy: AsyncEngine, proxy: Proxy, start: Any, events: Recorder
) -> None:
    await start(engine=by_proxy, queues={"default": 2}, heartbeat=HeartbeatSettings(interval=0.5, ttl=8, margin=1))
    with gate("long") as long:
        (id_,) = await enqueue(by_proxy, pass_gate.new("long"))
        await eventually(lambda: long.entered == [id_], "the job to run")
        beats = len(events.of(Beaten))
        assert proxy.silence("pulse") == 1
        await events.wait_for(Beaten, count=beats + 5)
    await events.wait_for(JobFinished, id=id_, state=JobState.COMPLETED)
    assert events.of(LivenessLost) == []
    assert long.cancelled == []


@pytest.mark.parametrize("purpose", ["claim", "ack"])
async def test_a_silent_connection_is_replaced_and_nothing_runs_twice(
    by_proxy: AsyncEngine, proxy: Proxy, start: Any, events: Recorder, purpose: str
) -> None:
    oban = await start(engine=by_proxy, queues={"default": 2})
    (first,) = await enqueue(by_proxy, noop.new())
    await events.wait_for(JobFinished, id=first)
    hurry(oban, 1.0)
    assert proxy.silence(purpose) > 0
    await enqueue(by_proxy, *(noop.new() for _ in range(5)))
    await eventually(lambda: all_completed(by_proxy), "all jobs to complete")
    assert len(events.of(JobFinished)) == 6


async def test_a_runner_whose_connections_are_all_silent_stops_all_the_same(
    by_proxy: AsyncEngine, proxy: Proxy, events: Recorder
) -> None:
    oban = SqlaOban(by_proxy, queues=dict.fromkeys("abcd", 1), **fast_settings())
    await oban.start()
    await enqueue(by_proxy, noop.with_options(queue="a").new())
    await eventually(lambda: all_completed(by_proxy), "a job to go all the way, by all connections")
    hurry(oban, 0.6)
    assert all(proxy.silence(purpose) > 0 for purpose in ("pulse", "claim", "ack"))
    await oban.stop()
    assert len(events.of(RunnerStopped)) == 1
