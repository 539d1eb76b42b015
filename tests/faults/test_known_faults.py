"""Seventeen faults that were reproduced in a queue of this family, each provoked here as it was there.

W10, a bad cron entry, stands in tests/maintenance/test_scheduler.py.
"""

import asyncio
import gc
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import URL, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban import Job, JobState, Snooze, SqlaOban, current_job, job
from sqla_oban.engine.database import Link
from sqla_oban.engine.notifier import Notifier
from sqla_oban.migrations import current_version, migrate
from sqla_oban.queries.ack import ACK, COMPLETE
from sqla_oban.settings import LeaderSettings, StagerSettings
from sqla_oban.telemetry.events import (
    AcksDelayed,
    AcksWritten,
    Beaten,
    JobFinished,
    JobsStaged,
    JobStarted,
    LeadershipGained,
    ListenerUp,
    RunnerStopped,
)
from tests.shop import gate, noop, pass_gate
from tests.support import PATIENCE, Recorder, both_drivers, enqueue, eventually, fast_settings, jobs

NOTHING: dict[str, float] = {}
ran: Counter[int] = Counter()
BY_WAKE_UP_ONLY = StagerSettings(interval=600, deaf_interval=600)


@job(name="known_faults.count")
async def count() -> None:
    ran[current_job().id] += 1


@job(name="known_faults.raise_nul", max_attempts=1)
async def raise_nul() -> None:
    raise ValueError("a\x00b \ud800")


@job(name="known_faults.snooze_badly", max_attempts=1)
async def snooze_badly() -> Snooze:
    return Snooze(1, meta={"n": object()})


@job(name="known_faults.bad_backoff", backoff=lambda _: NOTHING["none"])
async def bad_backoff() -> None:
    raise ValueError("the first error")


@job(name="known_faults.leaky_cancellation")
async def leaky_cancellation() -> None:
    """Awaits a task of its own that somebody has cancelled."""
    task = asyncio.create_task(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


@job(name="known_faults.raises_when_cancelled")
async def raises_when_cancelled() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise RuntimeError("I was not finished") from None


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


async def all_are(engine: AsyncEngine, *states: JobState) -> bool:
    return {one.state for one in await jobs(engine)} <= set(states)


async def run_sql(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql(sql)


async def test_w01_every_node_leads(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    """The lease lasts as long as it says, so nodes that start one after the other do not all take it."""
    first = await start(queues={"default": 1}, leader=LeaderSettings(ttl=30, margin=1))
    await events.wait_for(LeadershipGained)
    async with engine.connect() as connection:
        left = await connection.scalar(text("SELECT expires_at - timezone('UTC', now()) FROM oban_peers"))
    assert timedelta(seconds=20) < left < timedelta(seconds=31)
    later = [await start(queues={"default": 1}, leader=LeaderSettings(ttl=30, margin=1)) for _ in range(2)]
    beats = len(events.of(Beaten))
    await events.wait_for(Beaten, count=beats + 60)  # far longer than the three seconds of the faulty lease
    assert [node.is_leader for node in (first, *later)] == [True, False, False]
    assert len(events.of(LeadershipGained)) == 1


async def test_w02_one_bad_acknowledgement_wedges_the_queue(engine: AsyncEngine, start: Any) -> None:
    await start(queues={"default": 3})
    bad = [raise_nul.new(), snooze_badly.new(), raise_nul.new()]
    ids = await enqueue(engine, *bad, *(count.new() for _ in range(20)))
    await eventually(lambda: all_are(engine, JobState.COMPLETED, JobState.DISCARDED))
    stored = await jobs(engine)
    assert [one.state for one in stored[:3]] == [JobState.DISCARDED] * 3
    assert "ValueError: a\ufffdb ?" in stored[0].errors[0]["error"]
    assert "which JSON cannot express" in stored[1].errors[0]["error"]
    assert ran == Counter(ids[3:])


async def test_w03_a_payload_kills_the_listener(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    """Names with quotes go through JSON whole, and what is no JSON, or no notice, or packed, is survived."""
    awkward = 'it\'s "quoted" \\ \u2603 %s {} :x'
    await start(queues={"default": 5, awkward: 5}, stager=BY_WAKE_UP_ONLY)
    await events.wait_for(ListenerUp)
    async with engine.begin() as connection:
        for payload in ('{"queue": "a"b"}', "Z:H4sIAAAA", "eA==", '{"queue": [1]}', "[" * 5000, "\u2603"):
            await connection.execute(text("SELECT pg_notify('public.oban_insert', :payload)"), {"payload": payload})
            await connection.execute(text("SELECT pg_notify('public.oban_signal', :payload)"), {"payload": payload})
    for queue in (awkward, "default"):
        (job_id,) = await enqueue(engine, count.with_options(queue=queue).new())
        await events.wait_for(JobFinished, id=job_id)


async def test_w04_a_lost_acknowledgement_runs_the_job_again(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written again by the acker's own timer: nothing else happens on an idle queue."""
    fetch, lost = Link.fetch, list[int]()

    async def lose_some(link: Link, statement: Any, parameters: Any) -> Any:
        if (statement is ACK or statement is COMPLETE) and len(lost) < 3:
            lost.extend(parameters["ids"])
            raise ConnectionError("the server closed the connection")
        return await fetch(link, statement, parameters)

    monkeypatch.setattr(Link, "fetch", lose_some)
    await start(queues={"default": 5}, stager=BY_WAKE_UP_ONLY)
    (job_id,) = await enqueue(engine, count.new())
    await eventually(lambda: all_are(engine, JobState.COMPLETED), "the outcome to be written")
    assert lost == [job_id] * 3
    assert len(events.of(AcksDelayed)) == 3
    assert ran == Counter([job_id])


async def test_w05_a_row_that_cannot_be_read_wedges_the_claim(engine: AsyncEngine, start: Any) -> None:
    await run_sql(
        engine,
        "INSERT INTO oban_jobs (worker, priority, scheduled_at, args, max_attempts) VALUES "
        "('known_faults.count', 12, '20000-01-01', '{}', 1), ('known_faults.count', 0, '-infinity', '[1]', 1), "
        "('unknown', 0, '-infinity', '{}', 1), ('known_faults.count', 0, now(), '{\"n\": 1e400}', 1)",
    )
    await start(queues={"default": 2})
    ids = await enqueue(engine, *(count.new() for _ in range(5)))

    async def none_waits() -> bool:
        async with engine.connect() as connection:
            left = "SELECT count(*) FROM oban_jobs WHERE state NOT IN ('completed', 'discarded')"
            return not await connection.scalar(text(left))

    await eventually(none_waits, "every row to end")
    assert ran.keys() >= set(ids)


async def test_w06_exhausted_jobs_starve_the_queue(engine: AsyncEngine, start: Any) -> None:
    await run_sql(
        engine,
        "INSERT INTO oban_jobs (worker, attempt, max_attempts, priority) "
        "SELECT 'known_faults.count', 3, 3, 0 FROM generate_series(1, 7)",
    )
    ids = await enqueue(engine, *(count.with_options(priority=9).new() for _ in range(3)))
    await start(queues={"default": 3})
    await eventually(lambda: all_are(engine, JobState.COMPLETED, JobState.DISCARDED))
    assert ran == Counter(ids)


async def test_w07_a_rescue_while_the_job_runs_breaks_the_accounting(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    """The same producer claims a job that it still runs: both executions count, until both have ended."""
    node = await start(queues={"default": 2}, shutdown_grace_period=PATIENCE)
    with gate("twice") as twice:
        (job_id,) = await enqueue(engine, pass_gate.new("twice"))
        await eventually(lambda: twice.entered == [job_id], "the job to run")
        await run_sql(engine, "UPDATE oban_jobs SET state = 'available'")  # as a rescue by age does
        await run_sql(engine, "SELECT pg_notify('public.oban_insert', '{\"queue\": \"default\"}')")
        await eventually(lambda: twice.entered == [job_id] * 2, "the job to run again")
        (waiting,) = await enqueue(engine, count.new())
        beats = len(events.of(Beaten))
        await events.wait_for(Beaten, count=beats + 5)
        assert ran[waiting] == 0  # the limit of two is taken
        stopping = asyncio.create_task(node.stop())
        await eventually(lambda: len(events.of(Beaten)) > beats + 7)
        assert not stopping.done()  # it waits for both
    await stopping
    assert len(events.of(JobFinished, id=job_id)) == 2
    assert sum(len(one.late) for one in events.of(AcksWritten)) == 1
    assert [event.unfinished for event in events.of(RunnerStopped)] == [0]
    first, _ = await jobs(engine)
    assert (first.state, first.attempt) == (JobState.COMPLETED, 2)


@pytest.mark.parametrize(
    ("worker", "messages"),
    [
        (bad_backoff, ["the first error", "The worker's backoff failed too", "KeyError: 'none'"]),
        (leaky_cancellation, ["CancelledError"]),
    ],
)
async def test_w08_an_error_beside_the_worker_loses_the_outcome(
    engine: AsyncEngine, start: Any, worker: Any, messages: list[str]
) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, worker.new())
    await eventually(lambda: all_are(engine, JobState.RETRYABLE), "the failure to be recorded")
    ((error,),) = [one.errors for one in await jobs(engine)]
    for message in messages:
        assert message in error["error"]


async def test_w09_a_cancelled_job_runs_again(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    """Its worker raises something else than it should: cancelled it stays."""
    node = await start(queues={"default": 5})
    (job_id,) = await enqueue(engine, raises_when_cancelled.new())
    await events.wait_for(JobStarted)
    await node.jobs.cancel(job_id)
    await eventually(lambda: all_are(engine, JobState.CANCELLED), "the job's end")
    assert len(events.of(JobStarted)) == 1


@both_drivers
async def test_w11_every_reconnect_of_the_listener_leaks(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    node = await start(queues={"default": 1})
    await events.wait_for(ListenerUp)
    await events.wait_for(LeadershipGained)
    loop = node._node._pulse._loop
    before = len(asyncio.all_tasks(loop))
    for already in range(1, 4):
        await run_sql(
            engine,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'sqla_oban pulse' AND datname = current_database()",
        )
        await events.wait_for(ListenerUp, count=already + 1)
        (job_id,) = await enqueue(engine, count.new())
        await events.wait_for(JobFinished, id=job_id)
    await eventually(lambda: len(asyncio.all_tasks(loop)) <= before, "no more tasks than before")
    await eventually(lambda: are_connected(engine, 3), "no more connections than before")
    await node.stop()
    await eventually(lambda: are_connected(engine, 0), "no connection to be left")


async def are_connected(engine: AsyncEngine, count: int) -> bool:
    """PostgreSQL lists a connection that was closed for a moment more."""
    async with engine.connect() as connection:
        named = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name LIKE 'sqla_oban %' AND datname = current_database()"
        )
        return bool(await connection.scalar(text(named)) == count)


@both_drivers
async def test_w12_a_second_schema_and_a_repeated_migration_fail(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    for schema in ("known_a", "Known B"):
        await run_sql(engine, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        for _ in range(2):
            async with engine.begin() as connection:
                await connection.run_sync(migrate, schema=schema)
                assert await connection.run_sync(current_version, schema=schema) > 0
        await start(queues={"default": 1}, schema=schema, node=schema)
        await run_sql(engine, f"""INSERT INTO "{schema}".oban_jobs (worker) VALUES ('known_faults.count')""")
        await events.wait_for(JobFinished, node=schema)
    assert await jobs(engine) == []


async def test_w13_a_connection_prepared_in_another_way_breaks_it(
    database_url: URL, engine: AsyncEngine, start: Any
) -> None:
    """The user's hooks may set up connections as they like: formats, zone, isolation, timeouts."""
    odd = create_async_engine(database_url, isolation_level="SERIALIZABLE", pool_size=1, max_overflow=0)

    @event.listens_for(odd.sync_engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for setting in ("datestyle = 'German'", "timezone = 'Asia/Kathmandu'", "bytea_output = 'escape'"):
            cursor.execute(f"SET {setting}")
        cursor.execute("SET default_transaction_isolation = 'serializable'")
        cursor.execute("SET extra_float_digits = 0")
        cursor.close()

    node = await start(engine=odd, queues={"default": 2})
    ids = await enqueue(engine, count.new(), count.with_options(schedule_in=0.01).new(), noop.new())
    await eventually(lambda: all_are(engine, JobState.COMPLETED))
    assert ran == Counter(ids[:2])
    await node.stop()
    await odd.dispose()


async def test_w14_a_notice_that_is_too_long_is_lost_with_all_others(engine: AsyncEngine) -> None:
    """PostgreSQL refuses payloads of 8,000 bytes: ours are short, however many jobs they are about."""
    await run_sql(
        engine,
        "INSERT INTO oban_jobs (worker, state, attempt, attempted_at) "
        "SELECT 'w', 'executing', 1, now() FROM generate_series(1, 3000)",
    )
    longest = "\u2603" * 127
    await enqueue(engine, *(Job(worker=longest, queue=longest[:120] + str(number)) for number in range(400)))
    ids = [one.id for one in await jobs(engine)]
    assert await SqlaOban(engine).jobs.cancel(ids) == 3400


async def test_w15_queues_are_counted_where_jobs_are_meant(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await enqueue(engine, *(count.with_options(schedule_in=0.05).new() for _ in range(50)))
    await start(queues={"default": 5})
    await eventually(lambda: sum(one.count for one in events.of(JobsStaged)) == 50, "fifty jobs to be staged")
    assert {one.queues for one in events.of(JobsStaged)} == {("default",)}


async def test_w16_a_start_that_failed_leaves_things_running_and_cannot_be_repeated(
    engine: AsyncEngine, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = set(threading.enumerate())  # of another test, perhaps

    def running() -> tuple[int, list[str]]:
        threads = [one.name for one in set(threading.enumerate()) - others if one.name.startswith("sqla_oban")]
        return len(asyncio.all_tasks()), threads

    before = running()
    assert before == (1, [])
    node = SqlaOban(engine, queues={"default": 1}, **fast_settings())

    async def broken(_: object) -> None:
        raise ConnectionError("no listener today")

    with monkeypatch.context() as patched:
        patched.setattr(Notifier, "start", broken)
        with pytest.raises(ConnectionError, match="no listener today"):
            await node.start()
    assert running() == before
    await eventually(lambda: are_connected(engine, 0), "no connection to be left")
    for _ in range(2):  # and a runner that was stopped can be started again
        async with node:
            (job_id,) = await enqueue(engine, count.new())
            await events.wait_for(JobFinished, id=job_id)
    assert running() == before


async def test_w17_tasks_that_nobody_holds_are_collected(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 3})
    await events.wait_for(ListenerUp)
    for _ in range(5):
        gc.collect()
        ids = await enqueue(engine, *(count.new() for _ in range(10)))
        gc.collect()
        await eventually(lambda: all_are(engine, JobState.COMPLETED))
        assert ran.keys() >= set(ids)
    beats = len(events.of(Beaten))
    gc.collect()
    await events.wait_for(Beaten, count=beats + 2)


def test_every_fault_but_the_one_of_cron_is_here() -> None:
    named = {name[:8] for name in globals() if name.startswith("test_w")}
    assert named == {f"test_w{number:02}" for number in range(1, 18)} - {"test_w10"}
