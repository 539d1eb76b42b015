"""`oban.queues`: what is said of queues, to whom, for how long, and in whose transaction."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from sqla_oban import JobState, QueueConfig, RateLimit, SqlaOban
from sqla_oban.control import queues as verbs
from sqla_oban.control.runners import Runners
from sqla_oban.engine.database import Link
from sqla_oban.errors import ConfigurationError
from sqla_oban.migrations import downgrade, migrate
from sqla_oban.queries.claim import CLAIM
from sqla_oban.telemetry.events import JobFinished, JobStarted, QueueScaled
from tests.shop import gate, noop, pass_gate
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs

FOREIGN = "INSERT INTO oban_producers (uuid, name, node, queue) VALUES (gen_random_uuid(), 'Oban', 'elsewhere', 'q')"


@pytest.fixture
async def signals(engine: AsyncEngine) -> AsyncIterator[list[dict[str, Any]]]:
    """What every Oban library is told."""
    heard: list[dict[str, Any]] = []
    async with engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        await raw.add_listener("public.oban_signal", lambda *notice: heard.append(json.loads(notice[-1])))
        yield heard
        await raw.reset()


async def execute(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(sql))


async def limit(oban: SqlaOban, queue: str = "mail") -> int | None:
    info = await oban.queues.check(queue)
    return None if info is None else info.limit


async def is_paused(oban: SqlaOban, queue: str = "mail") -> bool:
    info = await oban.queues.check(queue)
    return info is not None and info.paused


def all_paused(*obans: SqlaOban, paused: bool = True) -> Any:
    async def hold() -> bool:
        return [await is_paused(oban) for oban in obans] == [paused] * len(obans)

    return hold


def limits(*obans_and_limits: tuple[SqlaOban, int | None], queue: str = "mail") -> Any:
    async def hold() -> bool:
        return all([await limit(oban, queue) == expected for oban, expected in obans_and_limits])

    return hold


@both_drivers
async def test_a_paused_queue_runs_nothing_until_it_is_resumed(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"mail": 2, "other": 2})
    await oban.queues.pause("mail")
    assert await is_paused(oban)
    (mail,) = await enqueue(engine, noop.with_options(queue="mail").new())
    (other,) = await enqueue(engine, noop.with_options(queue="other").new())
    await events.wait_for(JobFinished, id=other)
    assert (await jobs(engine))[0].state is JobState.AVAILABLE
    await oban.queues.resume("mail")
    assert not await is_paused(oban)
    await events.wait_for(JobFinished, id=mail)


async def test_what_runs_when_its_queue_is_paused_ends_and_is_written(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"mail": 2})
    with gate("pausing") as pausing:
        (id_,) = await enqueue(engine, pass_gate.with_options(queue="mail").new("pausing"))
        await eventually(lambda: pausing.entered == [id_], "the job to run")
        await oban.queues.pause("mail")
        assert pausing.cancelled == []

    async def completed() -> bool:
        return (await jobs(engine))[0].state is JobState.COMPLETED

    await eventually(completed, "the outcome to be written")


async def test_pausing_waits_for_a_claim_that_is_under_way(
    engine: AsyncEngine, start: Any, monkeypatch: pytest.MonkeyPatch, events: Recorder
) -> None:
    claiming, answer = asyncio.Event(), asyncio.Event()
    fetch = Link.fetch

    async def hold(link: Link, statement: Any, parameters: Any) -> Any:
        rows = await fetch(link, statement, parameters)
        if statement is CLAIM and rows:
            claiming.set()
            await answer.wait()
        return rows

    monkeypatch.setattr(Link, "fetch", hold)
    oban = await start(queues={"mail": 2})
    (id_,) = await enqueue(engine, noop.with_options(queue="mail").new())
    await claiming.wait()
    pausing = asyncio.create_task(oban.queues.pause("mail"))
    await eventually(lambda: is_paused(oban), "the pause")
    assert not pausing.done()
    answer.set()
    await pausing
    await events.wait_for(JobStarted, id=id_)


async def test_only_the_node_that_is_named_is_paused(start: Any) -> None:
    one, two = await start(queues={"mail": 2}, node="one"), await start(queues={"mail": 2}, node="two")
    await one.queues.pause("mail", node="two")
    await eventually(all_paused(two), "the other to be paused")
    assert not await is_paused(one)
    await two.queues.pause("mail")
    await eventually(all_paused(one, two), "both to be paused")
    await one.queues.resume("mail")
    await eventually(all_paused(one, two, paused=False), "the last word for all to count for the one that was named")


async def test_a_paused_queue_stays_paused_over_a_restart_and_on_new_nodes(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await SqlaOban(engine).queues.pause("mail")
    (mail,) = await enqueue(engine, noop.with_options(queue="mail").new())
    first = await start(queues={"mail": 2, "other": 1}, node="one")
    await first.stop()
    await first.start()
    assert await is_paused(first)
    assert await is_paused(await start(queues={"mail": 2}, node="two"))
    (other,) = await enqueue(engine, noop.with_options(queue="other").new())
    await events.wait_for(JobFinished, id=other)
    assert events.of(JobStarted, id=mail) == []


async def test_a_queue_that_is_configured_as_paused_waits_to_be_resumed_and_stays_so(
    engine: AsyncEngine, start: Any
) -> None:
    oban = await start(queues={"mail": QueueConfig(limit=2, paused=True)})
    assert await is_paused(oban)
    await oban.queues.resume("mail")
    await oban.stop()
    await oban.start()
    assert not await is_paused(oban)


async def test_every_queue_is_paused_at_once_also_one_that_is_started_later(start: Any) -> None:
    one, two = await start(queues={"mail": 1, "media": 1}), await start(queues={"mail": 1})
    await one.queues.resume("media", node=one.node)
    await one.queues.pause("*")
    await eventually(all_paused(one, two), "all to be paused")
    assert await is_paused(one, "media")
    assert await is_paused(await start(queues={"late": 1}), "late")
    await one.queues.resume("media")
    assert not await is_paused(one, "media")
    await one.queues.pause("*", node=one.node)
    assert await is_paused(one, "media"), "the last word counts, also for a queue that was spoken of"
    await two.queues.resume("*")
    await eventually(all_paused(one, two, paused=False), "all to be resumed")
    assert not await is_paused(one, "media")


async def test_scaling_up_fills_the_new_slots_and_scaling_down_lets_the_surplus_end(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"mail": 1})
    with gate("scaled") as scaled:
        await enqueue(engine, *(pass_gate.with_options(queue="mail").new("scaled") for _ in range(5)))
        await eventually(lambda: len(scaled.entered) == 1, "the first to run")
        await oban.queues.scale("mail", limit=3)
        await eventually(lambda: len(scaled.entered) == 3, "three to run")
        await oban.queues.scale("mail", limit=1)
        assert scaled.cancelled == []
        info = await oban.queues.check("mail")
        assert (info.limit, list(info.running)) == (1, scaled.entered)
    assert [event.limit for event in events.of(QueueScaled)] == [3, 1]
    await events.wait_for(JobFinished, count=5)


async def test_one_node_of_three_is_scaled_by_its_name(start: Any) -> None:
    one, two, three = [await start(queues={"mail": 2}, node=node) for node in ("one", "two", "three")]
    await one.queues.scale("mail", limit=7, node="two")
    await eventually(limits((one, 2), (two, 7), (three, 2)), "one to be scaled")
    await three.queues.scale("mail", limit=4)
    await eventually(limits((one, 4), (two, 4), (three, 4)), "all to be scaled")


async def test_a_queue_is_started_on_every_node_that_runs_queues_and_on_others_only_by_name(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    one, two = [await start(queues={"mail": 2}, node=node) for node in ("one", "two")]
    web = await start(leadership=True, node="web")
    await one.queues.start("new", limit=3)
    await eventually(limits((one, 3), (two, 3), queue="new"), "the workers to run it")
    await web.queues.scale("other", limit=1)  # it has looked at the table after that
    assert await web.queues.check_all() == []
    (id_,) = await enqueue(engine, noop.with_options(queue="new").new())
    await events.wait_for(JobFinished, id=id_)
    await web.queues.start("new", node="web")
    assert await limit(web, "new") == 3, "as it was said for all"
    assert await web.queues.check("mail") is None


async def test_a_queue_is_started_paused_or_with_the_limit_it_was_configured_with(start: Any) -> None:
    oban = await start(queues={"mail": 6})
    await oban.queues.stop("mail")
    await oban.queues.start("mail", paused=True)
    assert (await limit(oban), await is_paused(oban)) == (6, True)
    await oban.queues.start("mail", limit=2)
    assert (await limit(oban), await is_paused(oban)) == (2, False)
    await oban.queues.start("unheard of")
    assert await limit(oban, "unheard of") == 10


async def test_a_stopped_queue_takes_nothing_until_it_is_started_also_after_a_restart(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    oban = await start(queues={"mail": 2})
    await oban.queues.stop("mail")
    assert await oban.queues.check("mail") is None
    await oban.stop()
    await oban.start()
    assert await oban.queues.check_all() == []
    (id_,) = await enqueue(engine, noop.with_options(queue="mail").new())
    assert (await jobs(engine))[0].state is JobState.AVAILABLE
    await oban.queues.start("mail")
    await events.wait_for(JobFinished, id=id_)


async def test_a_command_is_part_of_the_callers_transaction(
    start: Any, sessions: async_sessionmaker[AsyncSession]
) -> None:
    oban = await start(queues={"mail": 2})
    async with sessions() as session:
        await oban.queues.pause("mail", session=session)
        await session.rollback()
    await oban.queues.scale("mail", limit=3)
    assert not await is_paused(oban)
    async with sessions() as session:
        await oban.queues.pause("mail", session=session)
        await session.commit()
    await eventually(lambda: is_paused(oban), "the pause")


async def test_commands_take_turns_until_their_transactions_end(
    engine: AsyncEngine, start: Any, sessions: async_sessionmaker[AsyncSession]
) -> None:
    oban = await start(queues={"mail": 2}, node="one")

    async def somebody_waits() -> bool:
        async with engine.connect() as connection:
            waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            return bool(await connection.scalar(text(waiting)))

    async with sessions() as session:
        await oban.queues.resume("mail", session=session)
        later = asyncio.create_task(oban.queues.pause("mail", node="one"))
        await eventually(somebody_waits, "the later command to wait")
        await session.commit()
    await later
    assert await is_paused(oban)


async def test_a_command_has_been_applied_here_when_the_call_returns_whatever_is_heard(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqla_oban.engine.switchboard.understood", lambda _: None)
    oban = await start(queues={"mail": 2})
    await oban.queues.pause("mail")
    assert await is_paused(oban)
    await oban.queues.scale("mail", limit=5)
    await oban.queues.start("new")
    (mail, new) = await oban.queues.check_all(everywhere=True)
    assert (mail.limit, mail.paused, new.queue) == (5, True, "new")


async def test_runners_of_another_name_do_not_obey(start: Any) -> None:
    ours, theirs = await start(queues={"mail": 2}), await start(queues={"mail": 2}, name="Theirs")
    await ours.queues.pause("*")
    await theirs.queues.scale("mail", limit=5)
    assert (await limit(ours), await is_paused(ours)) == (2, True)
    assert (await limit(theirs), await is_paused(theirs)) == (5, False)
    assert [info.name for info in await theirs.queues.check_all(everywhere=True)] == ["Theirs"]


async def test_a_schema_of_its_own_holds_its_own_words(engine: AsyncEngine, start: Any) -> None:
    schema = "Steered queues"
    async with engine.begin() as connection:
        await connection.run_sync(migrate, schema=schema)
    ours, here = await start(queues={"mail": 2}, schema=schema), await start(queues={"mail": 2})
    await SqlaOban(engine, schema=schema).queues.pause("mail")
    await eventually(lambda: is_paused(ours), "the pause")
    await here.queues.scale("mail", limit=3)
    assert not await is_paused(here)
    (info,) = await ours.queues.check_all(everywhere=True)
    assert info.node == ours.node
    await ours.stop()
    async with engine.begin() as connection:
        await connection.run_sync(downgrade, schema=schema)


async def test_the_verbs_work_in_a_sync_session(engine: AsyncEngine, start: Any) -> None:
    oban = await start(queues={"mail": 2})
    async with AsyncSession(engine) as session, session.begin():
        await session.run_sync(verbs.pause, "mail")
        await session.run_sync(lambda sync: verbs.scale(sync, "mail", limit=9, runners=Runners("Other")))
    await eventually(lambda: is_paused(oban), "the pause")
    assert await limit(oban) == 2


async def test_a_check_tells_what_runs_here_and_everywhere(engine: AsyncEngine, start: Any) -> None:
    one, two = [await start(queues={"mail": 2}, node=node) for node in ("one", "two")]
    with gate("checked") as checked:
        ids = await enqueue(engine, *(pass_gate.with_options(queue="mail").new("checked") for _ in range(4)))
        await eventually(lambda: sorted(checked.entered) == ids, "all to run")
        everywhere = await SqlaOban(engine).queues.check_all(everywhere=True)
        assert everywhere == [await one.queues.check("mail"), await two.queues.check("mail")]
        assert sorted(id_ for info in everywhere for id_ in info.running) == ids
        assert await one.queues.check("mail", node="two") == everywhere[1]
        assert await one.queues.check("mail", node="one") == everywhere[0]
        assert everywhere[0].started_at.utcoffset() is not None
    assert await one.queues.check("mail", node="three") is None
    assert await one.queues.check("media") is None


async def test_a_client_and_a_stopped_runner_run_nothing(engine: AsyncEngine) -> None:
    assert await SqlaOban(engine).queues.check_all() == []
    assert await SqlaOban(engine, queues={"mail": 1}).queues.check("mail") is None
    assert await SqlaOban(engine).queues.check_all(everywhere=True) == []


async def test_a_pause_is_shown_everywhere_when_the_call_returns(start: Any) -> None:
    oban = await start(queues={"mail": 2})
    await oban.queues.pause("mail")
    await oban.queues.scale("mail", limit=4)
    (info,) = await oban.queues.check_all(everywhere=True)
    assert (info.paused, info.limit) == (True, 4)


async def test_the_limits_over_all_nodes_are_shown_here_and_everywhere(start: Any) -> None:
    rate = RateLimit(100, 60, "bucket")
    limited = QueueConfig(limit=2, global_limit=3, rate_limit=rate, partition=("args", "tenant"), burst=True)
    oban = await start(queues={"api": limited, "mail": 1})
    for infos in (await oban.queues.check_all(), await oban.queues.check_all(everywhere=True)):
        api, mail = infos
        assert (api.global_limit, api.rate_limit, api.partition, api.burst) == (3, rate, ("args", "tenant"), True)
        assert (mail.global_limit, mail.rate_limit, mail.partition, mail.burst) == (None, None, None, False)
    await oban.queues.scale("mail", global_limit=7)
    _, mail = await oban.queues.check_all(everywhere=True)
    assert mail.global_limit == 7


async def test_foreign_rows_are_shown_as_far_as_they_make_sense(engine: AsyncEngine) -> None:
    meta = '\'{"local_limit": 10e30, "paused": true, "limits": {"rate_limit": [1], "global_limit": 5}}\''
    await execute(engine, FOREIGN)
    await execute(engine, f"UPDATE oban_producers SET meta = CAST({meta} AS jsonb)".replace(":", r"\:"))
    (info,) = await SqlaOban(engine).queues.check_all(everywhere=True)
    assert (info.limit, info.paused, info.running, info.global_limit) == (None, True, (), None)


async def test_our_own_nodes_are_told_only_to_look(engine: AsyncEngine, signals: list[dict[str, Any]]) -> None:
    queues = SqlaOban(engine).queues
    await queues.pause("mail")
    await queues.stop("mail", node="one")
    await eventually(lambda: len(signals) == 2, "two signals")
    assert signals == [{"action": "queues"}] * 2


async def test_a_start_is_told_to_other_libraries_although_none_is_seen(
    engine: AsyncEngine, signals: list[dict[str, Any]]
) -> None:
    """A node that runs no queues at the moment has no row of its own."""
    await SqlaOban(engine).queues.start("mail", limit=3, node="one")
    await eventually(lambda: len(signals) == 2, "two signals")
    said = {"action": "start", "queue": "mail", "limit": 3, "paused": False, "ident": "Oban.one"}
    assert signals == [{"action": "queues", "said": said}, said]


async def test_producers_of_another_library_are_told_in_its_words(
    engine: AsyncEngine, signals: list[dict[str, Any]]
) -> None:
    await execute(engine, FOREIGN)
    queues = SqlaOban(engine).queues
    await queues.pause("*")
    await queues.resume("mail", node="one")
    await queues.scale("mail", limit=3)
    await queues.start("mail", paused=True)
    await queues.stop("mail", node="two")
    await eventually(lambda: len(signals) == 10, "all signals")
    assert signals[1::2] == [
        {"action": "pause", "queue": "*", "ident": "any"},
        {"action": "resume", "queue": "mail", "ident": "Oban.one"},
        {"action": "scale", "queue": "mail", "limit": 3, "ident": "any"},
        {"action": "start", "queue": "mail", "limit": 10, "paused": True, "ident": "any"},
        {"action": "stop", "queue": "mail", "ident": "Oban.two"},
    ]
    assert signals[::2] == [{"action": "queues", "said": said} for said in signals[1::2]]


@pytest.mark.parametrize("queue", ["", " ", "q" * 128, "a\x00b", "\ud800", 7, None, ["mail"]])
async def test_a_name_that_no_queue_can_have_is_refused(engine: AsyncEngine, queue: Any) -> None:
    with pytest.raises(ConfigurationError, match="a queue's name"):
        await SqlaOban(engine).queues.pause(queue)


@pytest.mark.parametrize("node", ["", " ", "n" * 10_000, "a\x00b", "\ud800", 7, ["one"]])
async def test_a_name_that_no_node_can_have_is_refused(engine: AsyncEngine, node: Any) -> None:
    with pytest.raises(ConfigurationError, match="a node's name must be a non-blank str of 255 characters"):
        await SqlaOban(engine).queues.stop("mail", node=node)


@pytest.mark.parametrize("number", [0, -1, True, "5", 2.0, 10**10, None])
async def test_a_limit_that_is_none_is_refused(engine: AsyncEngine, number: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit must be"):
        await SqlaOban(engine).queues.scale("mail", limit=number)


async def test_what_can_be_said_of_single_queues_only_is_refused_for_all(engine: AsyncEngine) -> None:
    queues = SqlaOban(engine).queues
    for command in (queues.scale("*", limit=1), queues.start("*"), queues.stop("*")):
        with pytest.raises(ConfigurationError, match='only pause and resume take "\\*"'):
            await command
    with pytest.raises(ConfigurationError, match="paused must be True or False"):
        await queues.start("mail", paused=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("queue", ['"; DROP TABLE oban_jobs', "it's", "😀" * 127, "back\\slash", "%s :x $1"])
async def test_any_name_that_a_job_may_have_can_be_steered(engine: AsyncEngine, start: Any, queue: str) -> None:
    await execute(engine, FOREIGN)
    oban = await start(queues={queue: 2})
    await oban.queues.pause(queue, node="😀" * 255)
    await oban.queues.pause(queue)
    assert await is_paused(oban, queue)
