"""`SqlaOban`: starting, running, stopping, and what it refuses."""

import asyncio
import os
import signal
import threading
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import sessionmaker

from sqla_oban import Job, JobState, QueueConfig, SqlaOban
from sqla_oban.errors import ConfigurationError, SchemaMismatch, UnsupportedEngine
from sqla_oban.settings import LeaderSettings
from sqla_oban.telemetry.events import Beaten, JobFinished, RunnerStarted, RunnerStopped
from tests.shop import block_at_gate, gate, noop, pass_gate
from tests.support import PATIENCE, Recorder, enqueue, eventually, fast_settings, jobs


@pytest.fixture(autouse=True)
def others() -> set[threading.Thread]:
    """The threads of earlier tests that may not have ended yet."""
    OTHERS.clear()
    OTHERS.update(threading.enumerate())
    return OTHERS


OTHERS: set[threading.Thread] = set()


def oban_threads() -> list[str]:
    return [one.name for one in set(threading.enumerate()) - OTHERS if one.name.startswith("sqla_oban pulse")]


async def test_a_runner_can_be_started_again_after_it_was_stopped(engine: AsyncEngine, events: Recorder) -> None:
    oban = SqlaOban(engine, queues={"default": 2}, **fast_settings())
    for _ in range(2):
        async with oban:
            (id_,) = await enqueue(engine, noop.new())
            await events.wait_for(JobFinished, id=id_)
            await eventually(lambda: oban.is_leader, "it to lead")
        assert not oban.is_leader
    assert oban_threads() == []


async def test_starting_and_stopping_twice_does_nothing_the_second_time(engine: AsyncEngine, events: Recorder) -> None:
    oban = SqlaOban(engine, queues={"default": 2}, **fast_settings())
    await oban.stop()
    await oban.start()
    await oban.start()
    assert len(events.of(RunnerStarted)) == 1
    await oban.stop()
    await oban.stop()
    assert len(events.of(RunnerStopped)) == 1


async def test_two_runners_in_one_process_share_the_work_and_have_one_leader(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    long = LeaderSettings(ttl=600)
    nodes = [await start(queues={"default": 2}, leader=long) for _ in range(2)]
    assert nodes[0].node != nodes[1].node
    with gate("all four") as all_four:
        await enqueue(engine, *(pass_gate.new("all four") for _ in range(4)))
        await eventually(lambda: len(all_four.entered) == 4, "both to fill their slots")
    await eventually(lambda: any(node.is_leader for node in nodes), "one to lead")
    assert sum(node.is_leader for node in nodes) == 1


async def test_a_client_without_queues_starts_nothing(engine: AsyncEngine, events: Recorder) -> None:
    async with SqlaOban(engine) as client:
        assert oban_threads() == []
        assert not client.is_leader
    assert events.of(Beaten) == []


async def test_a_runner_without_queues_may_lead_when_asked_to(engine: AsyncEngine) -> None:
    async with SqlaOban(engine, leadership=True, **fast_settings()) as oban:
        await eventually(lambda: oban.is_leader, "it to lead")


async def test_a_database_without_our_tables_is_refused_in_one_sentence_and_nothing_is_left_running(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA IF NOT EXISTS empty_for_a_test"))
    oban = SqlaOban(engine, queues={"default": 2}, schema="empty_for_a_test")
    with pytest.raises(SchemaMismatch, match=r"no sqla_oban tables.*`alembic upgrade head`.*`sqla-oban migrate"):
        await oban.start()
    assert oban_threads() == []
    await oban.stop()


async def test_a_start_that_fails_halfway_leaves_nothing_running_and_can_be_repeated(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise RuntimeError("halfway")

    oban = SqlaOban(engine, queues={"default": 2}, **fast_settings())
    with monkeypatch.context() as patch:
        patch.setattr("sqla_oban.engine.stager.Stager.start", fail)
        with pytest.raises(RuntimeError, match="halfway"):
            await oban.start()
    assert oban_threads() == []
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("sqla_oban")] == []
    async with oban:
        await eventually(lambda: oban.is_leader, "it to run after all")


async def test_a_server_that_does_not_answer_is_an_error_at_the_start() -> None:
    engine = create_async_engine("postgresql+asyncpg://postgres@127.0.0.1:1/none")
    with pytest.raises(OSError):  # noqa: PT011 (the driver's own words)
        await SqlaOban(engine, queues={"default": 2}).start()
    await engine.dispose()


async def test_run_ends_at_a_signal_and_puts_the_handlers_back(engine: AsyncEngine, events: Recorder) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    running = asyncio.create_task(SqlaOban(engine, queues={"default": 2}, **fast_settings()).run())
    await events.wait_for(RunnerStarted)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_a_second_signal_ends_the_grace_period(engine: AsyncEngine, events: Recorder) -> None:
    settings = {**fast_settings(), "shutdown_grace_period": 600}
    running = asyncio.create_task(SqlaOban(engine, queues={"default": 2}, **settings).run())
    await events.wait_for(RunnerStarted)
    with gate("stuck") as stuck:
        (id_,) = await enqueue(engine, pass_gate.new("stuck"))
        await eventually(lambda: stuck.entered == [id_], "the job to run")
        os.kill(os.getpid(), signal.SIGINT)
        beats = len(events.of(Beaten))
        await events.wait_for(Beaten, count=beats + 3)
        assert not running.done(), "it waits for the job, and beats meanwhile"
        os.kill(os.getpid(), signal.SIGINT)
        await running
    (job,) = await jobs(engine)
    assert (job.state, job.attempt) == (JobState.AVAILABLE, 0)


async def test_a_cancelled_run_stops_in_order(engine: AsyncEngine, events: Recorder) -> None:
    running = asyncio.create_task(SqlaOban(engine, queues={"default": 2}, **fast_settings()).run())
    await events.wait_for(RunnerStarted)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await events.wait_for(RunnerStopped)
    assert oban_threads() == []


@pytest.mark.parametrize("worker", [pass_gate, block_at_gate], ids=["async", "thread"])
async def test_stopping_waits_for_running_jobs_and_writes_how_they_ended(
    engine: AsyncEngine, events: Recorder, worker: Any
) -> None:
    oban = SqlaOban(engine, queues={"default": 2}, **{**fast_settings(), "shutdown_grace_period": PATIENCE})
    await oban.start()
    with gate("slow") as slow:
        (id_,) = await enqueue(engine, worker.new("slow"))
        await eventually(lambda: slow.entered == [id_], "the job to run")
        stopping = asyncio.create_task(oban.stop())
        beats = len(events.of(Beaten))
        await events.wait_for(Beaten, count=beats + 2)
        assert not stopping.done()
        slow.open()
        await stopping
    assert [event.unfinished for event in events.of(RunnerStopped)] == [0]
    (job,) = await jobs(engine)
    assert job.state is JobState.COMPLETED


@pytest.mark.parametrize("worker", [pass_gate, block_at_gate], ids=["async", "thread"])
async def test_jobs_that_do_not_end_in_time_are_told_to_stop_and_handed_back(
    engine: AsyncEngine, events: Recorder, worker: Any
) -> None:
    oban = SqlaOban(engine, queues={"default": 2}, **{**fast_settings(), "shutdown_grace_period": 0.1})
    with gate("stuck") as stuck:
        async with oban:
            (id_,) = await enqueue(engine, worker.new("stuck"))
            await eventually(lambda: stuck.entered == [id_], "the job to run")
        await eventually(lambda: stuck.cancelled == [id_], "the job to see that it is to stop")
    assert [event.unfinished for event in events.of(RunnerStopped)] == [1]
    (job,) = await jobs(engine)
    assert (job.state, job.attempt, job.errors) == (JobState.AVAILABLE, 0, [])


async def test_an_engine_of_another_kind_is_refused() -> None:
    with pytest.raises(UnsupportedEngine, match="got a sync Engine"):
        SqlaOban(create_engine("postgresql+psycopg://localhost/none"))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedEngine, match="got str"):
        SqlaOban("postgresql+asyncpg://localhost/none")  # type: ignore[arg-type]


async def test_a_database_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_async_engine("postgresql+asyncpg://localhost/none")
    monkeypatch.setattr(engine.dialect, "name", "mysql")
    with pytest.raises(UnsupportedEngine, match="the engine is for mysql"):
        SqlaOban(engine)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queues": {"": 1}}, "must not be blank"),
        ({"queues": {"q" * 128: 1}}, "127 characters"),
        ({"queues": {7: 1}}, "must be a str"),
        ({"queues": {"a\x00": 1}}, "NUL"),
        ({"queues": {"a": 0}}, "at least 1"),
        ({"queues": {"a": True}}, "takes a number of jobs or a QueueConfig"),
        ({"queues": {"a": "10"}}, "takes a number of jobs or a QueueConfig"),
        ({"name": " "}, "name must be a non-blank str"),
        ({"name": 10**5_000}, "name must be a non-blank str of 255 characters at most, got a int that cannot be shown"),
        ({"node": "a\x00b"}, "node must be a non-blank str"),
        ({"node": "a\ud800b"}, "node must be a non-blank str"),
        ({"session_factory": sessionmaker()}, "session_factory must be an async_sessionmaker"),
        ({"session_factory": 7}, "session_factory must be an async_sessionmaker, got 7"),
        ({"schema": ""}, "schema must be a non-blank str"),
        ({"shutdown_grace_period": -1}, "above zero"),
        ({"shutdown_grace_period": float("nan")}, "above zero"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SqlaOban(create_async_engine("postgresql+asyncpg://localhost/none"), **options)


async def test_queues_may_be_given_as_numbers_or_as_configurations(engine: AsyncEngine, start: Any) -> None:
    await start(queues={"few": 1, "many": QueueConfig(limit=3)})
    with gate("limits") as limits:
        few = [pass_gate.with_options(queue="few").new("limits") for _ in range(5)]
        many = [pass_gate.with_options(queue="many").new("limits") for _ in range(5)]
        await enqueue(engine, *few, *many)
        await eventually(lambda: len(limits.entered) == 4, "both queues to fill their slots")
        states = [job.state for job in await jobs(engine)]
        assert states.count(JobState.EXECUTING) == 4


async def test_tables_in_a_schema_of_their_own_are_used(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    from sqla_oban.migrations import downgrade, migrate

    schema = "Über 'jobs'"
    async with engine.begin() as connection:
        await connection.run_sync(migrate, schema=schema)
    oban = await start(queues={"default": 2}, schema=schema)
    there = engine.execution_options(schema_translate_map={None: schema})
    await enqueue(there, noop.new(), Job(worker="shop.noop", schedule_in=0.1))
    await events.wait_for(JobFinished, count=2)
    await oban.stop()  # its statements and the end of its tables could wait for each other
    async with engine.begin() as connection:
        await connection.run_sync(downgrade, schema=schema)
