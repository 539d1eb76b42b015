"""How a node keeps its queues as they are wanted: lost signals, foreign ones, and queues that come and go."""

import asyncio
import itertools
import json
import random
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState, SqlaOban
from sqla_oban.engine.database import Link
from sqla_oban.engine.producer import Producer
from sqla_oban.engine.queues import LocalQueues
from sqla_oban.queries.claim import CLAIM
from sqla_oban.queries.producers import BEAT
from sqla_oban.queries.queues import WORDS, say
from sqla_oban.telemetry.events import (
    AcksDelayed,
    Beaten,
    JobAbandoned,
    JobFinished,
    JobsReleased,
    JobStarted,
    ListenerUp,
    LivenessLost,
    QueuePaused,
    QueueResumed,
    QueueStarted,
    QueueStopped,
    RunnerStopped,
    ServiceFailed,
)
from tests.shop import block_at_gate, gate, noop, pass_gate
from tests.support import MORTAL, PATIENCE, Recorder, both_drivers, enqueue, eventually, jobs

ANY = {"ident": "any"}
FOREIGN = "INSERT INTO oban_producers (uuid, name, node, queue) VALUES (gen_random_uuid(), 'Oban', 'elsewhere', 'q')"


async def execute(engine: AsyncEngine, sql: str, **parameters: Any) -> Any:
    async with engine.begin() as connection:
        result = await connection.execute(text(sql), parameters)
        return result.scalar() if result.returns_rows else None


async def signal(engine: AsyncEngine, **notice: Any) -> None:
    await execute(engine, "SELECT pg_notify('public.oban_signal', :payload)", payload=json.dumps(notice))


async def say_without_a_signal(engine: AsyncEngine, queue: str = "mail", node: str = "", **fields: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(say(fields), {"of_runners": "Oban", "of_queue": queue, "on_node": node})


async def queues(oban: SqlaOban) -> dict[str, tuple[int | None, bool]]:
    return {info.queue: (info.limit, info.paused) for info in await oban.queues.check_all()}


def holds(oban: SqlaOban, **expected: tuple[int, bool]) -> Any:
    async def are() -> bool:
        return await queues(oban) == expected

    return are


async def producers(engine: AsyncEngine) -> int:
    return int(await execute(engine, "SELECT count(*) FROM oban_producers"))


async def ended(engine: AsyncEngine) -> bool:
    return {job.state for job in await jobs(engine)} == {JobState.COMPLETED}


# What is said in the table, and lost signals


async def test_a_word_whose_signal_was_lost_is_found_in_the_table(
    engine: AsyncEngine, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.queues.INTERVAL", 0.1)
    oban = await start(queues={"mail": 2})
    await say_without_a_signal(engine, paused=True, local_limit=5)
    await eventually(holds(oban, mail=(5, True)), "the words to be found")


@both_drivers
async def test_what_was_said_while_nothing_was_heard_is_found_when_hearing_begins_anew(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.queues.INTERVAL", 3_600.0)
    oban = await start(queues={"mail": 2})
    await events.wait_for(ListenerUp)
    await say_without_a_signal(engine, paused=True)  # which the look that belongs to that event may still find
    await execute(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'sqla_oban pulse' AND datname = current_database()",
    )
    await eventually(holds(oban, mail=(2, True)), "the word to be found")


async def test_a_node_that_hears_nothing_looks_more_often(
    engine: AsyncEngine, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.notifier.NOTIFY", text("SELECT 1"))
    monkeypatch.setattr("sqla_oban.engine.queues.DEAF_INTERVAL", 0.1)
    oban = await start(queues={"mail": 2})
    await say_without_a_signal(engine, paused=True)
    await eventually(holds(oban, mail=(2, True)), "the word to be found")


async def test_a_look_that_fails_is_repeated(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    oban = await start(queues={"mail": 2})
    failures = itertools.count()
    execute_statement = Link.execute

    async def fail_at_first(link: Link, statement: Any, parameters: Any = None) -> Any:
        if statement is WORDS and next(failures) < 3:
            raise OSError("the database is away")
        return await execute_statement(link, statement, parameters)

    monkeypatch.setattr(Link, "execute", fail_at_first)
    await oban.queues.pause("mail")
    await eventually(holds(oban, mail=(2, True)), "the pause")
    assert events.of(ServiceFailed, service="LocalQueues")


@pytest.mark.parametrize("foreign", [False, True], ids=["ours", "with-another-library"])
async def test_all_nodes_come_to_hold_the_last_word_however_many_speak_at_once(
    engine: AsyncEngine, start: Any, foreign: bool
) -> None:
    if foreign:
        await execute(engine, FOREIGN)
    nodes = [await start(queues={"mail": 2}, node=node) for node in ("one", "two", "three")]

    async def speak(oban: SqlaOban) -> None:
        for _ in range(15):
            node = random.choice([None, None, "one"])
            await random.choice([oban.queues.pause, oban.queues.resume])("mail", node=node)

    await asyncio.gather(*(speak(oban) for oban in nodes))

    async def agreed() -> bool:
        said = "SELECT paused FROM oban_queues WHERE node IN ('', '{}') AND paused IS NOT NULL ORDER BY node DESC"
        wanted = [await execute(engine, said.format(oban.node)) for oban in nodes]
        return [(await queues(oban))["mail"][1] for oban in nodes] == wanted

    await eventually(agreed, "all to hold the last word")


async def test_a_command_is_not_undone_by_the_echo_of_an_earlier_one(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(engine, FOREIGN)
    oban = await start(queues={"mail": 2})
    late: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(LocalQueues, "hear", lambda *heard: late.append(heard))
        for _ in range(2):
            await oban.queues.resume("mail")
            await oban.queues.pause("mail")
        await eventually(lambda: len(late) == 8, "all that is said to be heard")
    for heard in late:
        LocalQueues.hear(*heard)
    await signal(engine, action="start", queue="mark", limit=1, **ANY)
    await events.wait_for(QueueStarted, queue="mark")
    assert (len(events.of(QueuePaused)), len(events.of(QueueResumed))) == (2, 1)


# Other libraries' signals


@both_drivers
async def test_other_libraries_steer_our_queues(engine: AsyncEngine, start: Any) -> None:
    oban = await start(queues={"mail": 2, "media": 3}, node="here")
    await signal(engine, action="pause", queue="mail", **ANY)
    await eventually(holds(oban, mail=(2, True), media=(3, False)), "one to be paused")
    await signal(engine, action="resume", queue="mail", ident="Oban.here")
    await eventually(holds(oban, mail=(2, False), media=(3, False)), "it to be resumed")
    await signal(engine, action="pause", queue="*", **ANY)
    await eventually(holds(oban, mail=(2, True), media=(3, True)), "all to be paused")
    await signal(engine, action="scale", queue="mail", limit=7, **ANY)
    await eventually(holds(oban, mail=(7, True), media=(3, True)), "one to be scaled")
    await signal(engine, action="stop", queue="mail", **ANY)
    await eventually(holds(oban, media=(3, True)), "one to be stopped")
    await signal(engine, action="start", queue="mail", limit=4, paused=True, **ANY)
    await eventually(holds(oban, mail=(4, True), media=(3, True)), "it to be started")


async def test_signals_for_others_and_senseless_ones_change_nothing(engine: AsyncEngine, start: Any) -> None:
    oban = await start(queues={"mail": 2}, node="here")
    web = await start(leadership=True, node="web")
    for notice in (
        {"action": "pause", "queue": "mail", "ident": "Oban.elsewhere"},
        {"action": "pause", "queue": "mail", "ident": "Other.here"},
        {"action": "pause", "queue": "mail"},
        {"action": "scale", "queue": "mail", "limit": 10**9, **ANY},
        {"action": "start", "queue": "*", "limit": 1, **ANY},
        {"action": "start", "queue": "mail", "limit": 9, "paused": True, **ANY},
        {"action": "stop", "queue": "unknown", **ANY},
        {"action": "queues", "said": {"action": "stop", "queue": "mail", **ANY}},
        {"action": ["stop"], "queue": {"mail": 1}, **ANY},
    ):
        await signal(engine, **notice)
    await signal(engine, action="start", queue="mark", limit=1, **ANY)
    await eventually(holds(oban, mail=(2, False), mark=(1, False)), "the last signal")
    assert await queues(web) == {}


async def test_a_foreign_word_holds_until_something_is_said_in_the_table(
    engine: AsyncEngine, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.queues.INTERVAL", 0.05)
    looks: list[Any] = []
    execute_statement = Link.execute

    async def count(link: Link, statement: Any, parameters: Any = None) -> Any:
        if statement is WORDS:
            looks.append(statement)
        return await execute_statement(link, statement, parameters)

    monkeypatch.setattr(Link, "execute", count)
    oban = await start(queues={"mail": 2})
    await oban.queues.resume("mail")
    await signal(engine, action="pause", queue="mail", **ANY)
    await eventually(holds(oban, mail=(2, True)), "the foreign word")
    seen = len(looks)
    await eventually(lambda: len(looks) > seen + 3, "several looks at the table")
    assert await queues(oban) == {"mail": (2, True)}
    await oban.queues.resume("mail")
    assert await queues(oban) == {"mail": (2, False)}, "said again, it counts again"


async def test_signals_start_no_more_queues_than_make_sense(
    engine: AsyncEngine, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.queues.MOST_QUEUES", 3)
    oban = await start(queues={"mail": 2})
    for number in range(5):
        await signal(engine, action="start", queue=f"q{number}", limit=1, **ANY)
    await signal(engine, action="scale", queue="mail", limit=9, **ANY)
    await eventually(holds(oban, mail=(9, False), q0=(1, False), q1=(1, False)), "the last signal")


async def test_another_library_cancels_a_job_that_runs_here(engine: AsyncEngine, start: Any) -> None:
    await start(queues={"default": 2})
    with gate("killed") as killed:
        (id_,) = await enqueue(engine, pass_gate.new("killed"))
        await eventually(lambda: killed.entered == [id_], "the job to run")
        await signal(engine, action="pkill", job_id=id_, attempt=7)
        await signal(engine, action="pkill", job_id=id_)
        await eventually(lambda: killed.cancelled == [id_], "the job to be stopped")


# Queues that start, pause and stop


async def test_a_queue_claims_nothing_before_its_producer_is_registered(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, list[str]]] = []
    execute_statement, fetch = Link.execute, Link.fetch

    async def note_claims(link: Link, statement: Any, parameters: Any) -> Any:
        if statement is CLAIM:
            steps.append(("claim", [parameters["of_queue"]]))
        return await fetch(link, statement, parameters)

    async def note_beats(link: Link, statement: Any, parameters: Any = None) -> Any:
        rows = await execute_statement(link, statement, parameters)
        if statement is BEAT:
            steps.append(("beat", parameters["queues"]))
        return rows

    monkeypatch.setattr(Link, "fetch", note_claims)
    monkeypatch.setattr(Link, "execute", note_beats)
    await enqueue(engine, *(noop.with_options(queue=queue).new() for queue in ("mail", "new")))
    oban = await start(queues={"mail": 2})
    await oban.queues.start("new")
    await events.wait_for(JobFinished, count=2)
    for queue in ("mail", "new"):
        first = next(kind for kind, of in steps if queue in of)
        assert first == "beat"


async def test_a_stopping_queue_lives_while_an_outcome_of_its_jobs_cannot_be_written(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"mail": 2})
    async with engine.connect() as connection:
        with gate("locked") as locked:
            (id_,) = await enqueue(engine, pass_gate.with_options(queue="mail").new("locked"))
            await eventually(lambda: locked.entered == [id_], "the job to run")
            await connection.execute(text("SELECT FROM oban_jobs FOR UPDATE"))
        await events.wait_for(AcksDelayed)
        await oban.queues.stop("mail")
        beats = len(events.of(Beaten))
        await events.wait_for(Beaten, count=beats + 4)
        assert events.of(QueueStopped) == []
        assert await producers(engine) == 1
    await events.wait_for(QueueStopped, unfinished=())
    assert await ended(engine)


@pytest.mark.parametrize("worker", [pass_gate, block_at_gate], ids=["async", "thread"])
async def test_a_stopping_queue_lives_until_its_jobs_have_ended_and_are_written(
    engine: AsyncEngine, start: Any, events: Recorder, worker: Any
) -> None:
    oban = await start(queues={"mail": 2, "other": 1}, shutdown_grace_period=PATIENCE)
    with gate("ending") as ending:
        (id_,) = await enqueue(engine, worker.with_options(queue="mail").new("ending"))
        await eventually(lambda: ending.entered == [id_], "the job to run")
        await oban.queues.stop("mail")
        beats = len(events.of(Beaten))
        await events.wait_for(Beaten, count=beats + 3)
        assert await producers(engine) == 2
        (later,) = await enqueue(engine, noop.with_options(queue="mail").new())
        (other,) = await enqueue(engine, noop.with_options(queue="other").new())
        await events.wait_for(JobFinished, id=other)
    await events.wait_for(QueueStopped, queue="mail", unfinished=())
    states = {job.id: job.state for job in await jobs(engine)}
    assert (states[id_], states[later]) == (JobState.COMPLETED, JobState.AVAILABLE)
    beats = len(events.of(Beaten))
    await events.wait_for(Beaten, count=beats + 2)
    assert await producers(engine) == 1


async def test_jobs_that_outlast_the_grace_period_of_their_queue_are_handed_back(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = itertools.count()
    release = Producer.release

    async def fail_at_first(producer: Producer) -> None:
        if next(failures) < 2:
            raise OSError("the database is away")
        await release(producer)

    monkeypatch.setattr(Producer, "release", fail_at_first)
    oban = await start(queues={"mail": 2}, shutdown_grace_period=0.1)
    with gate("stuck") as stuck:
        (id_,) = await enqueue(engine, pass_gate.with_options(queue="mail").new("stuck"))
        await eventually(lambda: stuck.entered == [id_], "the job to run")
        await oban.queues.stop("mail")
        await events.wait_for(QueueStopped, unfinished=(id_,))
        assert stuck.cancelled == [id_]
    (job,) = await jobs(engine)
    assert (job.state, job.attempt) == (JobState.AVAILABLE, 0)
    assert next(failures) == 3


async def test_a_queue_that_is_started_again_at_once_runs_beside_its_last_jobs(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"mail": 2}, shutdown_grace_period=PATIENCE)
    with gate("last") as last:
        (slow,) = await enqueue(engine, pass_gate.with_options(queue="mail").new("last"))
        await eventually(lambda: last.entered == [slow], "the job to run")
        await oban.queues.stop("mail")
        await oban.queues.start("mail")
        (quick,) = await enqueue(engine, noop.with_options(queue="mail").new())
        await events.wait_for(JobFinished, id=quick)
        assert last.cancelled == []
    await events.wait_for(QueueStopped, queue="mail")
    await eventually(lambda: ended(engine), "both to complete")
    assert await queues(oban) == {"mail": (2, False)}
    assert await producers(engine) == 1


async def test_a_node_that_stops_sees_a_stopping_queue_to_its_end(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"mail": 2}, shutdown_grace_period=PATIENCE)
    with gate("both") as both:
        (id_,) = await enqueue(engine, pass_gate.with_options(queue="mail").new("both"))
        await eventually(lambda: both.entered == [id_], "the job to run")
        await oban.queues.stop("mail")
        stopping = asyncio.create_task(oban.stop())
        beats = len(events.of(Beaten))
        await events.wait_for(Beaten, count=beats + 2)
        assert not stopping.done()
        both.open()
        await stopping
    assert [event.unfinished for event in events.of(RunnerStopped)] == [0]
    assert await ended(engine)
    assert await producers(engine) == 0


async def test_a_node_without_any_queue_left_stays_up(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    oban = await start(queues={"mail": 2})
    await oban.queues.stop("mail")
    await events.wait_for(QueueStopped)
    beats = len(events.of(Beaten))
    await events.wait_for(Beaten, count=beats + 2)
    await SqlaOban(engine).queues.start("mail")
    (id_,) = await enqueue(engine, noop.with_options(queue="mail").new())
    await events.wait_for(JobFinished, id=id_)
    await eventually(lambda: oban.is_leader, "it to lead")


async def test_a_paused_queue_stays_paused_when_its_node_counts_as_alive_again(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"mail": 2, "other": 2}, heartbeat=MORTAL, leadership=False)  # it has nobody rescued
    with gate("cut") as cut:
        (running,) = await enqueue(engine, pass_gate.with_options(queue="mail").new("cut"))
        await eventually(lambda: cut.entered == [running], "the job to run")
        await oban.queues.pause("mail")
        async with engine.begin() as connection:
            await connection.execute(text("LOCK TABLE oban_producers IN ACCESS EXCLUSIVE MODE"))
            await events.wait_for(LivenessLost)
            await events.wait_for(JobAbandoned, id=running)
        await events.wait_for(JobsReleased, ids=(running,))
        (other,) = await enqueue(engine, noop.with_options(queue="other").new())
        await events.wait_for(JobFinished, id=other)
        assert await queues(oban) == {"mail": (2, True), "other": (2, False)}
        assert len(events.of(JobStarted, id=running)) == 1


async def test_nobody_is_rung_for_a_paused_or_a_stopped_queue(engine: AsyncEngine, start: Any) -> None:
    oban = await start(queues={"mail": 2})

    def rung(expected: bool) -> Any:
        async def is_rung() -> bool:
            return await execute(engine, "SELECT oban_ring('mail')") is expected

        return is_rung

    await eventually(rung(expected=True), "it to sleep")
    await oban.queues.pause("mail")
    await eventually(rung(expected=False), "the key to be dropped")
    await oban.queues.resume("mail")
    await eventually(rung(expected=True), "it to sleep again")
    await oban.queues.stop("mail")
    await eventually(rung(expected=False), "the key to be dropped again")
