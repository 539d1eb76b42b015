"""Batches, from adding them to their callbacks."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Session

from sqla_oban import (
    Batch,
    Cancel,
    Job,
    SqlaOban,
    Unique,
    Workflow,
    current_job,
    inject,
    insert_all,
    job,
    make_models,
    worker,
)
from sqla_oban.errors import InvalidEntity, InvalidJob, InvalidSelection
from sqla_oban.maintenance.mender import FIRST
from sqla_oban.queries.batches import forget_batches, mend_batches
from sqla_oban.queries.notes import SETTLE_NOW
from sqla_oban.telemetry.events import JobFinished
from sqla_oban.testing import drain
from tests.enqueue.conftest import Run, every_session
from tests.shop import Order
from tests.support import Recorder, enqueue, eventually, jobs

MILESTONES = ["attempted", "completed", "exhausted", "retryable", "cancelled", "discarded"]
seen: list[tuple[str, dict[str, int]]] = []


@job(name="batches.work", max_attempts=2, backoff=lambda _: 0)
async def work(how: str = "well") -> Any:
    if how == "badly" or (how == "once" and current_job().attempt == 1):
        raise ValueError(how)
    return Cancel("no") if how == "cancel" else None


@job(name="batches.split")
async def split(session: AsyncSession = inject()) -> None:
    batch = await current_job().batch(session)
    assert batch is not None
    batch.add(work.new(), work.new())
    await session.commit()


@job(name="batches.tell", queue="callbacks", priority=3, tags=["told"], meta={"mine": 1})
async def tell(what: str, session: AsyncSession = inject()) -> None:
    batch = await current_job().batch(session)
    assert batch is not None
    seen.append((what, dict(batch.counts)))


@job(name="batches.pack")
async def pack(order: Order) -> None: ...


@worker(name="batches.report")
class Report:
    async def process(self, job: Job) -> None:
        seen.append((job.meta["batch"]["callback"], job.meta["batch"]["counts"]))


def batch_of(*hows: str, **options: Any) -> Batch:
    callbacks: dict[str, Any] = {name: tell.new(name) for name in MILESTONES}
    return Batch([work.new(how) for how in hows], **{**callbacks, **options})


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


async def run(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(sql))


async def add(engine: AsyncEngine, batch: Batch) -> Batch:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(batch)
    return batch


async def called(engine: AsyncEngine) -> list[str]:
    return [one.args["what"] for one in await jobs(engine) if one.queue == "callbacks"]


@every_session
async def test_a_batch_is_stored_with_its_jobs_or_not_at_all(run: Run[None]) -> None:
    def check(session: Session) -> None:
        batch = batch_of("well", "badly", name="two")
        session.add(batch)
        session.flush()
        stored = session.scalars(select(Job).where(Job.batch_id == batch.id).order_by(Job.id)).all()
        assert [one.args for one in stored] == [{"how": "well"}, {"how": "badly"}]
        session.rollback()
        assert session.scalars(select(Job)).all() == []
        session.add(batch)
        session.flush()
        assert len(session.scalars(select(Job).where(Job.batch_id == batch.id).order_by(Job.id)).all()) == 2

    await run(check)


async def test_jobs_of_a_batch_can_be_inserted_in_bulk(engine: AsyncEngine) -> None:
    batch = await add(engine, batch_of())
    more = [work.new() for _ in range(3)]
    for one in more:
        one.batch_id = batch.id
    async with engine.begin() as connection:
        await insert_all(connection, more)
    assert {one.batch_id for one in await jobs(engine)} == {batch.id}


@pytest.mark.parametrize(
    ("hows", "expected"),
    [
        (["well", "well"], {"attempted", "completed", "exhausted"}),
        (["well", "once"], {"attempted", "completed", "exhausted", "retryable"}),
        (["well", "badly"], {"attempted", "exhausted", "retryable", "discarded"}),
        (["cancel", "well"], {"attempted", "exhausted", "cancelled"}),
        (["cancel", "cancel", "badly", "badly"], {"attempted", "exhausted", "cancelled", "retryable", "discarded"}),
    ],
)
async def test_each_callback_is_made_once_when_its_time_has_come(
    engine: AsyncEngine, start: Any, events: Recorder, hows: list[str], expected: set[str]
) -> None:
    await start(queues={"default": 5, "callbacks": 1})
    batch = await add(engine, batch_of(*hows))
    await events.wait_for(JobFinished, queue="callbacks", count=len(expected))
    assert sorted(await called(engine)) == sorted(expected)
    async with AsyncSession(engine) as session:
        stored = await session.get_one(Batch, batch.id)
        assert set(stored.reached) == expected
        assert stored.exhausted_at is not None


async def test_drain_runs_a_batch_and_its_callbacks_within_the_transaction(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(Batch([work.new(), work.new()], name="both", exhausted=Report.new()))
        assert (await drain(session)).completed == 3
    assert seen == [("exhausted", {"completed": 2})]


async def test_a_callback_is_made_like_its_job_and_told_of_its_batch(engine: AsyncEngine) -> None:
    batch = await add(engine, Batch([work.new()], name="one", completed=tell.new("completed")))
    await run(engine, "UPDATE oban_jobs SET state = 'completed'")
    [_, one] = await jobs(engine)
    assert (one.worker, one.queue, one.priority, one.tags, one.args) == (
        *("batches.tell", "callbacks", 3, ["told"]),
        {"what": "completed"},
    )
    assert one.meta == {
        "mine": 1,
        "batch": {"id": str(batch.id), "name": "one", "callback": "completed", "counts": {"completed": 1}},
    }
    async with AsyncSession(engine) as session:
        await drain(session, "callbacks")


async def test_a_callback_weighs_what_it_would_elsewhere_and_takes_a_row(engine: AsyncEngine) -> None:
    await add(engine, Batch([work.new()], completed=pack.with_options(weight=5).new(Order(id=7))))
    await run(engine, "UPDATE oban_jobs SET state = 'completed'")
    [_, one] = await jobs(engine)
    assert (one.weight, one.args) == (5, {"order": {"$entity": "Order", "pk": [7]}})
    with pytest.raises(InvalidEntity, match="has no primary key yet"):
        Batch(completed=pack.new(Order(item="book")))


async def test_a_job_adds_others_to_its_batch(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(Batch([split.new()], completed=Report.new()))
        await session.commit()
    async with AsyncSession(engine) as session:
        assert (await drain(session)).completed == 4
    assert seen == [("completed", {"completed": 3})]


@pytest.mark.parametrize("end", ["UPDATE oban_jobs SET state = 'completed'", "DELETE FROM oban_jobs"])
async def test_whoever_ends_the_jobs_the_callback_is_made(engine: AsyncEngine, end: str) -> None:
    await add(engine, Batch([work.new(), work.new()], exhausted=tell.new("exhausted")))
    await run(engine, end)
    assert await called(engine) == ["exhausted"]


async def test_of_two_that_commit_the_ends_of_the_last_two_jobs_the_second_makes_the_callback(
    engine: AsyncEngine,
) -> None:
    await add(engine, Batch([work.new(), work.new()], exhausted=tell.new("exhausted")))
    await run(engine, "UPDATE oban_jobs SET state = 'executing', attempt = 1")
    ending = "UPDATE oban_jobs SET state = 'completed' WHERE id = "
    async with engine.begin() as first:
        await first.execute(text(f"{ending} 1"))
        await first.execute(SETTLE_NOW)  # as its commit begins

        async def second() -> None:
            await run(engine, f"{ending} 2")

        waiting = asyncio.ensure_future(second())

        async def waits() -> bool:
            found = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            return bool(await first.scalar(text(found)))

        await eventually(waits, "the second to wait for the first")
    await waiting
    assert await called(engine) == ["exhausted"]


async def test_nobody_waits_for_another_while_jobs_of_the_batch_still_wait(engine: AsyncEngine) -> None:
    await add(engine, batch_of(*["well"] * 3, attempted=None))
    await run(engine, "UPDATE oban_jobs SET state = 'executing', attempt = 1 WHERE id < 3")
    async with engine.begin() as first:
        await first.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE id = 1"))
        await run(engine, "UPDATE oban_jobs SET state = 'completed' WHERE id = 2")
    assert await called(engine) == []


async def test_a_transaction_that_rolls_back_has_called_nobody(engine: AsyncEngine) -> None:
    await add(engine, Batch([work.new()], exhausted=tell.new("exhausted")))
    async with engine.connect() as connection:
        await connection.execute(text("UPDATE oban_jobs SET state = 'completed'"))
        await connection.rollback()
        await connection.execute(text("UPDATE oban_jobs SET priority = 1"))
        await connection.commit()
    assert await called(engine) == []
    await run(engine, "UPDATE oban_jobs SET state = 'completed'")
    assert await called(engine) == ["exhausted"]


async def test_a_retried_job_does_not_call_again_what_was_called(engine: AsyncEngine) -> None:
    batch = await add(engine, batch_of("well", "well"))
    oban = SqlaOban(engine)
    await run(engine, "UPDATE oban_jobs SET state = 'discarded'")
    assert sorted(await called(engine)) == ["attempted", "discarded", "exhausted"]
    assert await oban.batches.retry(batch.id) == 2
    await run(engine, "UPDATE oban_jobs SET state = 'completed' WHERE batch_id IS NOT NULL")
    assert sorted(await called(engine)) == ["attempted", "completed", "discarded", "exhausted"]


async def test_a_batch_is_got_with_its_counts_and_cancelled(engine: AsyncEngine) -> None:
    batch = await add(engine, batch_of("well", "well", "well", name="three"))
    oban = SqlaOban(engine)
    await run(engine, "UPDATE oban_jobs SET state = 'completed' WHERE id = 1")
    found = await oban.batches.get(batch.id)
    assert found is not None
    assert (found.name, found.counts) == ("three", {"completed": 1, "available": 2})
    assert await oban.batches.cancel(batch.id) == 2
    assert sorted(await called(engine)) == ["attempted", "cancelled", "exhausted"]
    assert await oban.batches.get(uuid4()) is None
    assert await oban.batches.cancel(uuid4()) == 0
    with pytest.raises(InvalidSelection, match="UUID"):
        await oban.batches.get("five")  # type: ignore[arg-type]


async def test_the_sweep_settles_a_batch_without_jobs(engine: AsyncEngine) -> None:
    await add(engine, Batch(exhausted=tell.new("exhausted"), completed=tell.new("completed")))
    assert await called(engine) == []
    async with engine.begin() as connection:
        [(done, last)] = await connection.execute(mend_batches(None), {"batch": 10, "after": FIRST})
        assert (done, last is not None) == (1, True)
        [(done, last)] = await connection.execute(mend_batches(None), {"batch": 10, "after": FIRST})
        assert (done, last) == (0, None)
    assert sorted(await called(engine)) == ["completed", "exhausted"]


async def test_jobs_without_a_batch_have_none(engine: AsyncEngine) -> None:
    await enqueue(engine, tell.with_options(queue="default").new("x"))
    async with AsyncSession(engine) as session:
        with pytest.raises(AssertionError):
            await drain(session)


def test_what_cannot_be_in_a_batch_is_refused() -> None:
    one = work.new()
    batch = Batch([one])
    with pytest.raises(InvalidJob, match="already"):
        batch.add(one)
    with pytest.raises(InvalidJob, match="is stored by its workflow, not by a batch"):
        batch.add(Workflow(name="w").add("one", work.new()))
    with pytest.raises(InvalidJob, match="a batch takes a list of jobs"):
        Batch(work.new())  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="takes jobs"):
        Batch(["job"])  # type: ignore[list-item]
    with pytest.raises(InvalidJob, match="not unique, nor scheduled"):
        Batch(completed=work.with_options(unique=Unique()).new())
    with pytest.raises(InvalidJob, match="not unique, nor scheduled"):
        Batch(completed=work.with_options(schedule_in=5).new())
    with pytest.raises(InvalidJob, match="name"):
        Batch(name=" ")

    class Base(DeclarativeBase): ...

    with pytest.raises(InvalidJob, match="schema"):
        Batch([make_models(Base, schema="elsewhere").Job(worker="w")])


async def test_a_batch_is_not_completed_because_what_was_discarded_is_pruned(engine: AsyncEngine) -> None:
    await add(engine, Batch([work.new(), work.new()], exhausted=tell.new("exhausted"), completed=tell.new("completed")))
    await run(
        engine, "UPDATE oban_jobs SET state = (CASE id WHEN 1 THEN 'discarded' ELSE 'completed' END)::oban_job_state"
    )
    await run(engine, "DELETE FROM oban_jobs WHERE id = 1")
    assert await called(engine) == ["exhausted"]


async def test_a_batch_whose_jobs_are_gone_is_forgotten(engine: AsyncEngine) -> None:
    kept, gone, young = [await add(engine, Batch([work.new()])) for _ in range(3)]
    live = await add(engine, Batch([work.new()]))
    await run(engine, "UPDATE oban_jobs SET state = 'completed' WHERE id < 4")
    await run(engine, "DELETE FROM oban_jobs WHERE id IN (2, 3)")
    await run(engine, "UPDATE oban_batches SET exhausted_at = exhausted_at - interval '1 hour'")
    await run(engine, f"UPDATE oban_batches SET exhausted_at = timezone('UTC', now()) WHERE id = '{young.id}'")
    async with engine.begin() as connection:
        forgotten = (await connection.scalars(forget_batches(), {"age": 60.0, "batch": 10})).all()
        assert forgotten == [gone.id]
        assert set(await connection.scalars(select(Batch.id))) == {kept.id, young.id, live.id}
