"""What this producer holds without running it goes back, and nothing that refuses to is in the way of the rest."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.engine.producer import Producer
from sqla_oban.telemetry.events import JobFinished, JobRefused, JobsReleased
from tests.shop import noop
from tests.support import Recorder, enqueue, jobs

REFUSE = """
    CREATE FUNCTION refuse_release() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.state = 'available' AND NEW.meta ? 'refused' THEN
        RAISE EXCEPTION 'refused by a test' USING ERRCODE = '23505';
      END IF;
      RETURN NEW;
    END $$
"""
HOLD = """
    UPDATE oban_jobs SET state = 'executing', attempt = 1, attempted_by = ARRAY['node', CAST(:holder AS text)],
      attempted_at = timezone('UTC', clock_timestamp()) WHERE queue = 'held'
"""


@pytest.fixture
async def refusing(engine: AsyncEngine) -> AsyncIterator[None]:
    """A trigger refuses to have some jobs handed back, as a unique index would do it."""
    async with engine.begin() as connection:
        await connection.execute(text(REFUSE))
        await connection.execute(
            text("CREATE TRIGGER refuse BEFORE UPDATE ON oban_jobs FOR EACH ROW EXECUTE FUNCTION refuse_release()")
        )
    yield
    async with engine.begin() as connection:
        await connection.execute(text("DROP TRIGGER IF EXISTS refuse ON oban_jobs"))
        await connection.execute(text("DROP FUNCTION refuse_release"))


async def hold(engine: AsyncEngine, start: Any, *metas: dict[str, Any]) -> tuple[Any, list[int]]:
    """A producer, and jobs that it holds as if the answer to a claim had been lost."""
    oban = await start(queues={"default": 2})
    (producer,) = oban._node._producers
    ids = await enqueue(engine, *(noop.with_options(queue="held", meta=meta).new() for meta in metas))
    async with engine.begin() as connection:
        await connection.execute(text(HOLD), {"holder": str(producer.uuid)})
    return producer, ids


@pytest.mark.usefixtures("refusing")
async def test_a_job_that_is_refused_holds_up_neither_the_others_nor_new_ones(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    producer, (first, bad, last) = await hold(engine, start, {}, {"refused": 1}, {})
    producer.unfence()  # as after a claim whose answer was lost
    await events.wait_for(JobsReleased, ids=(first, last))
    assert {event.id for event in events.of(JobRefused)} == {bad}
    (new,) = await enqueue(engine, noop.new())
    await events.wait_for(JobFinished, id=new)
    states = {job.id: job.state for job in await jobs(engine)}
    assert (states[bad], states[last]) == (JobState.EXECUTING, JobState.AVAILABLE)


async def test_a_job_that_somebody_has_locked_holds_up_nothing(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    producer, (locked, free) = await hold(engine, start, {}, {})
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": locked})
        producer.unfence()
        await events.wait_for(JobsReleased, ids=(free,))
    producer.unfence()
    await events.wait_for(JobsReleased, ids=(locked,))
    assert {event.id for event in events.of(JobRefused)} == {locked}


async def test_who_comes_to_count_as_dead_while_it_looks_for_what_it_holds_looks_once_more(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look under way has asked for what was not running before."""
    producer, (job_id,) = await hold(engine, start, {})
    begun, go_on = asyncio.Event(), asyncio.Event()
    release = Producer.release

    async def release_nothing_at_first(one: Producer) -> None:
        if begun.is_set():
            await release(one)
        begun.set()
        await go_on.wait()

    monkeypatch.setattr(Producer, "release", release_nothing_at_first)
    producer.unfence()
    await begun.wait()
    producer.fence()
    producer.unfence()
    go_on.set()
    await events.wait_for(JobsReleased, ids=(job_id,))
