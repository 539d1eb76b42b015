"""A workflow is stored with the session's transaction, whatever its size, and refused before anything is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase

from sqla_oban import After, Job, JobState, Workflow, current_job, inject, insert_all, job, make_models
from sqla_oban.errors import InvalidJob, InvalidWorkflow
from sqla_oban.migrations import migrate
from sqla_oban.outcomes import Record
from sqla_oban.testing import drain
from tests.support import jobs

SEEN: list[Any] = []
MANY = 10_000


@job(name="tests.workflow.step")
async def step(value: int) -> Record:
    SEEN.append({name: one.result for name, one in current_job().upstream.items()})
    return Record(value + sum(one.result or 0 for one in current_job().upstream.values()))


@job(name="tests.workflow.grow")
async def grow(session: AsyncSession = inject()) -> None:
    workflow = await session.get_one(Workflow, current_job().workflow_id)
    workflow.add("more", step.new(10), deps=["first"])
    await session.commit()


@contextmanager
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(*args: Any) -> None:
        seen.append(str(args[2]))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine.sync_engine, "before_cursor_execute", note)


async def by_name(engine: AsyncEngine) -> dict[str | None, Job]:
    return {one.workflow_name: one for one in await jobs(engine)}


async def test_it_is_drained_in_its_order_and_each_job_reads_what_it_waited_for(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    SEEN.clear()
    workflow = Workflow(name="sum")
    first = workflow.add("first", step.new(1))
    workflow.add("second", step.new(2), deps=["first"])
    workflow.add("third", step.new(3), deps="first")
    workflow.add("last", step.new(4), deps=["second", "third"])
    async with sessions() as session:
        session.add(workflow)
        drained = await drain(session)
    assert drained.ids == tuple(one.id for one in workflow.jobs.values())
    assert SEEN == [{}, {"first": 1}, {"first": 1}, {"second": 3, "third": 4}]
    assert first.workflow_id == workflow.id


async def test_fan_out_and_fan_in_of_ten_thousand_are_one_statement_each(
    engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]
) -> None:
    workflow = Workflow(name="wide")
    workflow.add("first", Job(worker="w"))
    names = [f"page {number}" for number in range(MANY)]
    for name in names:
        workflow.add(name, Job(worker="w"), deps=["first"])
    workflow.add("last", Job(worker="w"), deps=names)
    with statements(engine) as seen:
        async with sessions.begin() as session:
            session.add(workflow)
        assert len(seen) == 3, "the workflow, its jobs, its edges"
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE workflow_name = 'first'"))
        count = "SELECT count(*) FROM oban_jobs WHERE state = 'available'"
        async with engine.begin() as connection:
            assert await connection.scalar(text(count)) == MANY
            await connection.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE state = 'available'"))
        async with engine.connect() as connection:
            assert await connection.scalar(text(count + " AND workflow_name = 'last'")) == 1


async def test_what_was_rolled_back_is_stored_when_it_is_added_again(
    engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]
) -> None:
    workflow = Workflow(name="again")
    workflow.add("first", step.new(1))
    workflow.add("last", step.new(2), deps=["first"])
    async with sessions() as session:
        session.add(workflow)
        await session.flush()
        await session.rollback()
        assert await jobs(engine) == []
        session.add(workflow)
        await session.commit()
    stored = await by_name(engine)
    assert {name: one.state for name, one in stored.items()} == {"first": "available", "last": "suspended"}
    assert {one.workflow_id for one in stored.values()} == {workflow.id}


async def test_a_running_job_adds_to_its_workflow(
    engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]
) -> None:
    workflow = Workflow(name="growing")
    workflow.add("first", step.new(1))
    workflow.add("grow", grow.new(), deps=["first"])
    async with sessions.begin() as session:
        session.add(workflow)
    assert (await drain(engine)).completed == 3
    assert (await by_name(engine))["more"].result == 11, "although what it depends on had ended before it was added"


async def test_a_name_that_is_stored_or_not_is_found_out_before_anything_is_sent(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    workflow = Workflow(name="w")
    workflow.add("first", Job(worker="w"))
    async with sessions.begin() as session:
        session.add(workflow)
    for wrong, deps in (("first", []), ("other", ["missing"])):
        async with sessions() as session:
            stored = await session.get_one(Workflow, workflow.id)
            stored.add(wrong, Job(worker="w"), deps=deps)
            with pytest.raises(InvalidWorkflow, match=r"has 'first' already|depends on 'missing'"):
                await session.flush()
            session.expunge(stored)
            assert await session.scalar(select(1)) == 1


async def test_a_job_of_it_is_not_stored_without_it(sessions: async_sessionmaker[AsyncSession]) -> None:
    """It would be suspended for ever."""
    workflow = Workflow(name="w")
    workflow.add("first", step.new(1))
    second = workflow.add("second", step.new(2), deps=["first"])
    async with sessions.begin() as session:
        with pytest.raises(InvalidJob, match="takes no job of a workflow"):
            await insert_all(session, [second])
        session.add(second)
        with pytest.raises(InvalidWorkflow, match="is 'second' of a workflow that is not added"):
            await session.flush()
        session.expunge(second)
        session.add(workflow)
    assert second.workflow_id == workflow.id


async def test_it_respects_the_time_of_a_job(engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]) -> None:
    workflow = Workflow(name="later")
    workflow.add("first", step.new(1))
    workflow.add("last", step.with_options(schedule_in=600).new(2), deps=["first"])
    async with sessions.begin() as session:
        session.add(workflow)
    assert (await drain(engine)).completed == 1
    assert (await by_name(engine))["last"].state is JobState.SCHEDULED


async def test_models_of_another_base_and_schema(engine: AsyncEngine) -> None:
    class Base(DeclarativeBase): ...

    models = make_models(Base, schema="elsewhere")
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA IF EXISTS elsewhere CASCADE"))
        await connection.execute(text("CREATE SCHEMA elsewhere"))
        await connection.run_sync(lambda one: migrate(one, schema="elsewhere"))
    workflow = models.Workflow(name="w")
    first = workflow.add("first", models.Job(worker="w"))
    last = workflow.add("last", models.Job(worker="w"), deps=[After("first", ignore=["deleted"])])
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(workflow)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM elsewhere.oban_jobs WHERE id = :id"), {"id": first.id})
    async with engine.begin() as connection:
        state = text("SELECT CAST(state AS text) FROM elsewhere.oban_jobs WHERE id = :id")
        assert await connection.scalar(state, {"id": last.id}) == "available"
        await connection.execute(text("DROP SCHEMA elsewhere CASCADE"))


def test_a_graph_that_cannot_be_is_refused_at_the_call() -> None:
    workflow = Workflow(name="w")
    extract = workflow.add("extract", Job(worker="w"))
    wrong: list[tuple[Any, Any, Any, str]] = [
        ("extract", Job(worker="w"), [], "has 'extract' already"),
        ("load", Job(worker="w"), ["extrct"], "did you mean 'extract'"),
        ("load", Job(worker="w"), ["load"], "depends on itself"),
        ("load", Job(worker="w"), ["extract", "extract"], "twice"),
        ("a.b", Job(worker="w"), [], "no dots"),
        ("", Job(worker="w"), [], "must be a text"),
        ("load", extract, [], "part of a workflow already"),
        ("load", Job(worker="w", unique=True), [], "cannot be unique"),
        ("load", "job", [], "made of jobs"),
    ]
    for name, job_, deps, complaint in wrong:
        with pytest.raises(InvalidWorkflow, match=complaint):
            workflow.add(name, job_, deps=deps)
    with pytest.raises(InvalidWorkflow, match="ignore takes"):
        After("extract", ignore=["failed"])
    with pytest.raises(InvalidWorkflow, match="more than 1,000,000"):
        Workflow(name="w", context={"big": "x" * 1_000_001})
    assert list(workflow.jobs) == ["extract"]


def test_a_sub_workflow_becomes_a_part() -> None:
    pages = Workflow(name="pages", context={"of": "a site"})
    pages.add("one", Job(worker="w"))
    pages.add("two", Job(worker="w"), deps=["one"])
    site = Workflow(name="site")
    site.add("fetch", Job(worker="w"))
    site.add_workflow("pages", pages, deps=["fetch"])
    site.add("publish", Job(worker="w"), deps=["pages"])
    assert list(site.jobs) == ["fetch", "pages.one", "pages.two", "publish"]
    deps = {name: list(node.deps) for name, node in site.graph.nodes.items()}
    assert deps == {"fetch": [], "pages.one": ["fetch"], "pages.two": ["pages.one"], "publish": ["pages.two"]}
    assert site.context == {"pages": {"of": "a site"}}
