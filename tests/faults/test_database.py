"""What happens when PostgreSQL, or the way to it, fails."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban import JobState, QueueConfig, current_job, job
from sqla_oban.engine import claims
from sqla_oban.engine.database import Link
from sqla_oban.engine.producer import Producer
from sqla_oban.migrations import migrate
from sqla_oban.queries.claim import CLAIM, Claimed
from sqla_oban.settings import HeartbeatSettings, NotifierSettings, StagerSettings
from sqla_oban.telemetry.events import (
    AckReplaced,
    AcksDelayed,
    AcksWritten,
    Beaten,
    JobAbandoned,
    JobFinished,
    JobsReleased,
    JobStarted,
    ListenerDown,
    ListenerUp,
    LivenessLost,
    ServiceFailed,
)
from sqla_oban.testing import TemporaryPostgres
from tests.shop import block_at_gate, gate, noop, pass_gate
from tests.support import MORTAL, Recorder, both_drivers, enqueue, eventually, jobs

BY_WAKE_UP_ONLY = StagerSettings(interval=600, deaf_interval=600)
NOT_A_NOTIFY = text("SELECT CAST(:channel AS text), CAST(:payload AS text)")
ran: Counter[int] = Counter()


@job(name="faults.count")
async def count() -> None:
    ran[current_job().id] += 1


refused = count.with_options(meta={"refused": True})


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@pytest.fixture(scope="module")
def own_server() -> Iterator[TemporaryPostgres]:
    """A durable server that only these tests use, because they restart it."""
    with TemporaryPostgres(durable=True) as server:
        yield server


async def terminate(engine: AsyncEngine, purpose: str) -> int:
    """Kill the server's side of a runner's connections."""
    async with engine.begin() as connection:
        killed = await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = :name AND datname = current_database()"
            ),
            {"name": f"sqla_oban {purpose}"},
        )
        return len(killed.all())


async def all_completed(engine: AsyncEngine) -> bool:
    return {one.state for one in await jobs(engine)} == {JobState.COMPLETED}


@pytest.mark.parametrize("crash", [False, True], ids=["restarted", "crashed"])
@pytest.mark.parametrize("by", ["asyncpg", "psycopg"])
async def test_a_restart_of_postgresql_under_load_loses_nothing(
    own_server: TemporaryPostgres, start: Any, events: Recorder, crash: bool, by: str
) -> None:
    engine = create_async_engine(own_server.url(by), pool_pre_ping=True)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
        await connection.execute(text("TRUNCATE oban_jobs, oban_peers, oban_producers"))
    node = await start(engine=engine, queues={"default": 10}, heartbeat=HeartbeatSettings(interval=0.5, ttl=20))
    committed: list[int] = []

    async def load(batches: int) -> None:
        for _ in range(batches):
            try:
                committed.extend(await enqueue(engine, *(count.new() for _ in range(20))))
            except Exception:  # of many kinds, by driver and moment; the application's own affair
                await asyncio.sleep(0)

    with gate("over the restart") as over:
        committed.extend(await enqueue(engine, pass_gate.new("over the restart")))
        await eventually(lambda: len(over.entered) == 1, "a job to be running")
        await load(10)
        restart = asyncio.create_task(asyncio.to_thread(own_server.restart, crash=crash))
        while not restart.done():
            await load(1)
        await restart
        await load(10)
    await eventually(lambda: all_completed(engine), "all jobs to complete")

    stored = {one.id for one in await jobs(engine)}
    assert set(committed) <= stored
    assert set(ran) == stored - set(over.entered)
    assert set(ran.values()) == {1}
    assert len(over.entered) == 1
    await eventually(lambda: node.is_leader, "the node to lead again")
    await node.stop()
    await engine.dispose()


@both_drivers
async def test_a_killed_listener_heals_and_jobs_start_meanwhile(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5})
    await events.wait_for(ListenerUp)
    assert await terminate(engine, "pulse") > 0  # one of an earlier test may not be gone yet
    (id_,) = await enqueue(engine, noop.new())
    await events.wait_for(JobFinished, id=id_)
    await events.wait_for(ListenerDown)
    await events.wait_for(ListenerUp, count=2)


@both_drivers
async def test_a_healed_listener_is_rung_again(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 5}, stager=BY_WAKE_UP_ONLY)
    await events.wait_for(ListenerUp)
    await terminate(engine, "pulse")
    await events.wait_for(ListenerUp, count=2)
    for _ in range(3):
        (id_,) = await enqueue(engine, noop.new())
        await events.wait_for(JobFinished, id=id_)


@both_drivers
async def test_a_listener_that_goes_deaf_without_an_error_is_found_out(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5}, notifier=NotifierSettings(health_interval=0.2, timeout=0.5))
    await events.wait_for(ListenerUp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sqla_oban.engine.notifier.NOTIFY", NOT_A_NOTIFY)
        await events.wait_for(ListenerDown)
        (id_,) = await enqueue(engine, noop.new())
        await events.wait_for(JobFinished, id=id_)
    await events.wait_for(ListenerUp, count=2)


async def test_jobs_whose_wake_up_was_silenced_are_found_by_the_poll(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5})
    await events.wait_for(ListenerUp)
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL sqla_oban.notify = 'off'"))
        await connection.execute(text("INSERT INTO oban_jobs (worker) VALUES ('shop.noop')"))
    await events.wait_for(JobFinished, worker="shop.noop")


@pytest.mark.parametrize("purpose", ["claim", "ack", "pulse"])
@both_drivers
async def test_each_connection_is_replaced_when_it_breaks(
    engine: AsyncEngine, start: Any, events: Recorder, purpose: str
) -> None:
    await start(queues={"default": 5})
    for _ in range(2):
        (id_,) = await enqueue(engine, noop.new())
        await events.wait_for(JobFinished, id=id_)
        await eventually(lambda: all_completed(engine), "the job to be acknowledged")
        await terminate(engine, purpose)


async def test_a_claim_whose_answer_was_lost_is_handed_back_and_runs_once(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Link.fetch
    lost: list[int] = []

    async def lose_one_answer(link: Link, statement: Any, parameters: Any) -> Any:
        rows = await fetch(link, statement, parameters)
        if statement is CLAIM and rows and not lost:
            lost.extend(Claimed._make(row).id for row in rows)
            await link.drop()
            raise ConnectionError("the answer was lost")
        return rows

    monkeypatch.setattr(Link, "fetch", lose_one_answer)
    await start(queues={"default": 5})
    ids = await enqueue(engine, *(count.new() for _ in range(3)))
    await eventually(lambda: all_completed(engine), "the jobs to run")
    assert lost
    (released,) = events.of(JobsReleased)
    assert sorted(released.ids) == sorted(lost)
    assert ran == Counter(ids)
    assert {one.attempt for one in await jobs(engine)} == {1}


async def test_outcomes_that_a_claim_took_along_are_not_lost_with_its_answer(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Link.fetch
    lost: list[int] = []

    async def lose_one_answer(link: Link, statement: Any, parameters: Any) -> Any:
        rows = await fetch(link, statement, parameters)
        if "of_queue" in parameters and parameters["ids"] and not lost:
            lost.extend(parameters["ids"])
            await link.drop()
            raise ConnectionError("the answer was lost")
        return rows

    monkeypatch.setattr(claims, "KEEP", 600.0)
    monkeypatch.setattr(Link, "fetch", lose_one_answer)
    ids = await enqueue(engine, *(count.new() for _ in range(20)))
    await start(queues={"default": QueueConfig(limit=5, global_limit=5)})
    await eventually(lambda: all_completed(engine), "the jobs to run")
    assert lost
    assert ran == Counter(ids)


@pytest.mark.parametrize(("code", "end"), [("23514", JobState.DISCARDED), ("55P03", JobState.COMPLETED)])
async def test_an_outcome_that_is_refused_keeps_no_claim_from_what_it_is_for(
    engine: AsyncEngine,
    start: Any,
    events: Recorder,
    refusals: Any,
    code: str,
    end: JobState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "KEEP", 600.0)
    await refusals(code)
    poison, *rest = await enqueue(engine, refused.new(), *(count.new() for _ in range(20)))
    await start(queues={"default": QueueConfig(limit=2, global_limit=2)})

    async def others_ended() -> bool:
        return all(one.state is JobState.COMPLETED for one in await jobs(engine) if one.id != poison)

    await eventually(others_ended, "all others to complete")
    assert not events.of(ServiceFailed, service="Producer")
    await refusals(None)

    async def ended() -> bool:
        return (await jobs(engine))[0].state is end

    await eventually(ended, "the one to end")
    assert ran == Counter([poison, *rest])


@pytest.mark.parametrize("alive_again", [False, True], ids=["dead", "alive again"])
async def test_jobs_claimed_while_the_node_came_to_count_as_dead_do_not_start(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch, alive_again: bool
) -> None:
    fetch = Link.fetch
    producers: list[Producer] = []

    async def pause_meanwhile(link: Link, statement: Any, parameters: Any) -> Any:
        rows = await fetch(link, statement, parameters)
        if statement is CLAIM and rows and not producers:
            producers.extend(node._node._producers)
            producers[0].fence()
            if alive_again:  # before the answer to the claim is here
                producers[0].unfence()
        return rows

    monkeypatch.setattr(Link, "fetch", pause_meanwhile)
    node = await start(queues={"paused": 5})
    (id_,) = await enqueue(engine, count.with_options(queue="paused").new())
    await eventually(lambda: len(producers) == 1, "the claim")
    if not alive_again:
        beats = len(events.of(Beaten))
        await events.wait_for(Beaten, count=beats + 3)
        assert events.of(JobStarted) == []
        producers[0].unfence()
    await events.wait_for(JobsReleased, ids=(id_,))
    await eventually(lambda: all_completed(engine), "the job to run after all")
    assert ran == Counter([id_])


async def test_a_late_ack_after_a_rescue_changes_nothing(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 5})
    with gate("slow") as slow:
        (id_,) = await enqueue(engine, pass_gate.new("slow"))
        await eventually(lambda: slow.entered == [id_], "the job to run")
        async with engine.begin() as connection:  # as the lifeline and another node's claim would leave it
            await connection.execute(
                text(
                    "UPDATE oban_jobs SET attempt = 2, attempted_by = '{elsewhere,4}', "
                    "attempted_at = timezone('UTC', clock_timestamp())"
                )
            )
    await events.wait_for(AcksWritten, late=(id_,), written=0)
    (stored,) = await jobs(engine)
    assert (stored.state, stored.attempt, stored.completed_at) == (JobState.EXECUTING, 2, None)


@pytest.mark.parametrize("worker", [pass_gate, block_at_gate], ids=["async", "thread"])
async def test_a_node_that_cannot_prove_that_it_lives_stops_its_jobs_and_hands_them_back(
    engine: AsyncEngine, start: Any, events: Recorder, worker: Any
) -> None:
    await start(queues={"default": 5}, heartbeat=MORTAL, leadership=False)  # nobody rescues what it is to hand back
    with gate("cut off") as cut_off:
        (id_,) = await enqueue(engine, worker.new("cut off"))
        await eventually(lambda: cut_off.entered == [id_], "the job to run")
        async with engine.begin() as connection:
            await connection.execute(text("LOCK TABLE oban_producers IN ACCESS EXCLUSIVE MODE"))
            await events.wait_for(LivenessLost)
            await events.wait_for(JobAbandoned, id=id_)
            assert cut_off.cancelled == [id_]
        await events.wait_for(JobsReleased, ids=(id_,))
        await eventually(lambda: cut_off.entered == [id_, id_], "the job to run again")
    await eventually(lambda: all_completed(engine), "the job to complete")
    (stored,) = await jobs(engine)
    assert stored.attempt == 1


async def test_outcomes_that_the_database_refuses_for_now_are_kept_and_written_later(
    engine: AsyncEngine, start: Any, events: Recorder, refusals: Any
) -> None:
    await refusals("53200")  # out of memory
    await start(queues={"default": 5})
    ids = await enqueue(engine, refused.new(), refused.new())
    await events.wait_for(AcksDelayed, count=3)
    assert ran == Counter(ids)
    await events.wait_for(Beaten, count=10)  # many lives of a beat: nobody may rescue a job that waits for its ack
    await refusals(None)
    await eventually(lambda: all_completed(engine), "the outcomes to be written, on an idle queue")
    assert ran == Counter(ids)


async def test_an_outcome_that_cannot_be_stored_harms_no_other_and_does_not_run_again(
    engine: AsyncEngine, start: Any, events: Recorder, refusals: Any
) -> None:
    await refusals("23514")  # a check of the user's own
    await start(queues={"default": 20})
    poison, *rest = await enqueue(engine, refused.new(), *(count.new() for _ in range(10)))
    await events.wait_for(AckReplaced, id=poison)

    async def settled() -> bool:
        return {one.state for one in await jobs(engine)} == {JobState.COMPLETED, JobState.DISCARDED}

    await eventually(settled, "all outcomes to be written")
    first, *others = await jobs(engine)
    assert first.state is JobState.DISCARDED
    assert "could not be stored" in first.errors[0]["error"]
    assert {one.state for one in others} == {JobState.COMPLETED}
    assert ran == Counter([poison, *rest])


async def test_hostile_notifications_harm_nothing(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 5}, stager=BY_WAKE_UP_ONLY)
    await events.wait_for(ListenerUp)
    hostile = ["", "{", "[]", "null", '{"queue": 7}', '{"queue": {"a": 1}}', "Z:AAAA", "H4sIAAAA", "\u2603" * 2000]
    async with engine.begin() as connection:
        for payload in hostile:
            for channel in ("oban_insert", "oban_leader", "oban_signal"):
                await connection.execute(text("SELECT pg_notify(:c, :p)"), {"c": f"public.{channel}", "p": payload})
    (id_,) = await enqueue(engine, noop.new())
    await events.wait_for(JobFinished, id=id_)
    assert events.of(ListenerDown) == []


async def test_an_exhausted_pool_of_the_user_stops_neither_acks_nor_beats(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    narrow = create_async_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    node = await start(engine=narrow, queues={"default": 5}, node="narrow")
    async with narrow.connect():
        beats = len(events.of(Beaten))
        await enqueue(engine, noop.new(), noop.new())
        await eventually(lambda: all_completed(engine), "the jobs to complete")
        await events.wait_for(Beaten, count=beats + 5)
        assert events.of(LivenessLost) == []
    assert len(events.of(JobStarted)) == 2
    await node.stop()
    await narrow.dispose()


@both_drivers
async def test_a_runner_makes_three_connections_and_leaves_none(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    node = await start(queues={"a": 50, "b": 50, "c": 50})
    await enqueue(engine, *(noop.with_options(queue=queue).new() for queue in "abc"))
    await eventually(lambda: all_completed(engine), "the jobs to complete")

    async def connections() -> list[str]:
        async with engine.connect() as connection:
            names = await connection.scalars(
                text(
                    "SELECT application_name FROM pg_stat_activity "
                    "WHERE application_name LIKE 'sqla_oban %' AND datname = current_database()"
                )
            )
            return sorted(names)

    async def are(*expected: str) -> bool:
        return await connections() == list(expected)

    await eventually(lambda: are("sqla_oban ack", "sqla_oban claim", "sqla_oban pulse"), "three, and no other")
    await node.stop()
    await eventually(are, "the connections to close")
