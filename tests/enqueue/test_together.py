"""Workflows, batches, chains and unique jobs through sessions of every kind, and several of them in one job."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from sqla_oban import Batch, Job, Record, SqlaOban, Unique, Workflow, current_job, job
from sqla_oban.errors import InvalidWorkflow
from sqla_oban.queries.overdue import FROM_THE_FIRST, Overdue, overdue, undue
from sqla_oban.testing import drain
from tests.enqueue.conftest import Run, every_session
from tests.support import jobs

CALLBACKS = "together.told"
ENDED = ("completed", "cancelled", "discarded")


@job(name="together.add", chain="account", max_attempts=1)
def add(account: int, number: int) -> Record:
    return Record(number + sum(one.result or 0 for one in current_job().upstream.values()))


@job(name="together.once", chain="account", unique=Unique(period=None))
def once(account: int) -> None: ...


@job(name=CALLBACKS)
def told() -> None: ...


def both(*deps: str) -> tuple[Workflow, Batch]:
    """Three jobs of one chain, one batch and one workflow; the last depends on `deps`."""
    new = {name: add.new(1, number) for number, name in enumerate(("a", "b", "c"), 1)}
    batch = Batch(exhausted=told.new(), completed=told.new())
    workflow = Workflow(name="together")
    for name, one in new.items():
        one.batch_id = batch.id
        workflow.add(name, one, deps=deps if name == "c" else ())
    return workflow, batch


@every_session
async def test_a_workflow_through_any_session(run: Run[None]) -> None:
    def check(session: Session) -> None:
        workflow = Workflow(name="sync")
        workflow.add("first", add.with_options(chain=None).new(1, 1))
        workflow.add("last", add.with_options(chain=None).new(1, 2), deps=["first"])
        session.add(workflow)
        session.flush()
        session.rollback()
        assert session.scalars(select(Job)).all() == []
        session.add(workflow)
        session.commit()
        stored = session.scalars(select(Job).order_by(Job.id)).all()
        assert [one.state for one in stored] == ["available", "suspended"]
        session.get_one(Workflow, workflow.id).add("more", add.with_options(chain=None).new(1, 3), deps=["last"])
        session.commit()
        assert [one.workflow_name for one in session.scalars(select(Job).order_by(Job.id))] == ["first", "last", "more"]
        session.execute(text("DELETE FROM oban_jobs"))
        session.commit()

    await run(check)


@pytest.mark.parametrize("run", ["sync psycopg", "sync psycopg2"], indirect=True)
async def test_a_workflow_and_a_batch_are_drained_through_a_plain_session(run: Run[None]) -> None:
    def check(session: Session) -> None:
        workflow, batch = both("a", "b")
        session.add_all([batch, workflow])
        assert drain(session).completed == 5, "the two callbacks as well"
        results = {one.workflow_name: one.result for one in session.scalars(select(Job))}
        assert results == {"a": 1, "b": 2, "c": 6, None: None}
        session.refresh(batch)
        assert set(batch.reached) >= {"exhausted", "completed"}

    await run(check)


async def stored(engine: AsyncEngine, *deps: str) -> tuple[Workflow, Batch]:
    workflow, batch = both(*deps)
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add_all([batch, workflow])
    return workflow, batch


async def facts(engine: AsyncEngine) -> list[str]:
    """The states of the three, after a look at what must hold of them: one at a time in a chain, callbacks once."""
    found = await jobs(engine)
    of_chain = [one for one in found if one.chain_key is not None]
    occupying = [one for one in of_chain if one.state not in ("suspended", "completed", "cancelled")]
    assert len(occupying) <= 1
    assert len([one for one in found if one.worker == CALLBACKS]) <= 2
    if all(one.state in ENDED for one in of_chain):
        assert any(one.meta["batch"]["callback"] == "exhausted" for one in found if one.worker == CALLBACKS)
    return [one.state.value for one in of_chain]


async def test_jobs_of_a_chain_a_workflow_and_a_batch_wait_for_all_of_it(engine: AsyncEngine) -> None:
    await stored(engine, "a")
    assert await facts(engine) == ["available", "suspended", "suspended"]
    assert (await drain(engine, limit=1)).completed == 1
    assert await facts(engine) == ["completed", "available", "suspended"], "what it depends on has ended, not the chain"
    await drain(engine)
    assert await facts(engine) == ["completed"] * 3


async def test_the_leader_has_nothing_to_mend_where_a_chain_is_waited_for(engine: AsyncEngine) -> None:
    await stored(engine)
    async with engine.begin() as connection:
        assert (await connection.execute(undue(None), {"batch": 100})).all() == []
        found = Overdue._make((await connection.execute(overdue(None), {"batch": 100, **FROM_THE_FIRST})).one())
    assert found.jobs is None
    assert found.looked > 0


async def test_cancelling_one_gives_the_turn_and_cancels_what_depends_on_it(engine: AsyncEngine) -> None:
    workflow, _ = await stored(engine, "a")
    oban = SqlaOban(engine)
    assert await oban.jobs.cancel(workflow.jobs["a"].id) == 1
    assert await facts(engine) == ["cancelled", "available", "cancelled"]
    await drain(engine)
    assert await facts(engine) == ["cancelled", "completed", "cancelled"]
    assert await oban.jobs.retry(workflow.jobs["a"].id) == 1
    assert await facts(engine) == ["available", "completed", "suspended"]
    await drain(engine)
    assert await facts(engine) == ["completed"] * 3


async def test_deleting_one_gives_the_turn_and_cancels_what_depends_on_it(engine: AsyncEngine) -> None:
    workflow, _ = await stored(engine, "a")
    assert await SqlaOban(engine).jobs.delete(workflow.jobs["a"].id) == 1
    assert await facts(engine) == ["available", "cancelled"]
    await drain(engine)
    assert await facts(engine) == ["completed", "cancelled"]


@pytest.mark.parametrize("names", ["a", "b", "c", "ab", "bc", "ac", "abc"])
@pytest.mark.parametrize("word", ["cancel", "retry", "delete"])
async def test_whatever_is_done_to_some_of_them_the_rest_ends(word: str, names: str, engine: AsyncEngine) -> None:
    workflow, _ = await stored(engine, "a", "b")
    oban = SqlaOban(engine)
    does: Callable[[Any], Any] = getattr(oban.jobs, word)
    ids = [workflow.jobs[name].id for name in names]
    await drain(engine, limit=1)
    await facts(engine)
    await does(ids)
    await facts(engine)
    await drain(engine)
    assert set(await facts(engine)) <= set(ENDED)
    await oban.jobs.retry(ids)
    await facts(engine)
    await drain(engine)
    states = await facts(engine)
    assert set(states) <= set(ENDED)
    if word != "delete":
        assert states == ["completed"] * 3


async def test_a_unique_job_of_a_chain_and_a_batch_is_there_once(engine: AsyncEngine) -> None:
    batch = Batch(exhausted=told.new())
    new = [once.new(1), once.new(2)]
    for one in new:
        one.batch_id = batch.id
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(batch)
        session.add_all(new)
        await session.flush()
        session.add(again := once.new(1))
        await session.flush()
        assert (again.conflict, again.id) == (True, new[0].id)
    oban = SqlaOban(engine)
    assert await facts_of_unique(engine) == ["available", "available"]
    assert await oban.jobs.cancel(new[0].id) == 1
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(after := once.new(1))
    assert not after.conflict
    assert await oban.jobs.delete(after.id) == 1
    assert await oban.jobs.retry(new[0].id) == 1
    await drain(engine)
    assert await facts_of_unique(engine) == ["completed", "completed"]
    assert [one.worker for one in await jobs(engine)].count(CALLBACKS) == 1


async def facts_of_unique(engine: AsyncEngine) -> list[str]:
    return [one.state.value for one in await jobs(engine) if one.worker == "together.once"]


def test_a_unique_job_in_a_workflow_is_refused() -> None:
    with pytest.raises(InvalidWorkflow, match="cannot be unique"):
        Workflow(name="no").add("a", once.new(1))
