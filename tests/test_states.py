"""`TRANSITIONS` against the statements themselves, run over rows in every state."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Job, JobState
from sqla_oban.queries.ack import ACK, Ack, parameters
from sqla_oban.queries.prune import prune
from sqla_oban.queries.release import release
from sqla_oban.queries.rescue import rescue
from sqla_oban.queries.stage import stage
from sqla_oban.states import FINAL, TRANSITIONS, WAITING, Transition, diagram
from tests.queries.table import Table
from tests.support import enqueue, jobs

Move = tuple[JobState | None, JobState | None]

ACKS = {
    "complete": JobState.COMPLETED,
    "snooze": JobState.SCHEDULED,
    "cancel": JobState.CANCELLED,
    "fail": JobState.RETRYABLE,
    "exhaust": JobState.DISCARDED,
}


def moves(verb: str) -> set[Move]:
    return {(move.source, move.target) for move in TRANSITIONS if move.verb == verb}


def acknowledging(state: JobState) -> Callable[[Table], Awaitable[object]]:
    async def acknowledge(table: Table) -> None:
        at = await table.scalar("SELECT attempted_at FROM oban_jobs LIMIT 1")
        acks = [Ack(job_id, at, state, delay=5, error="x") for job_id in await table.states()]
        await table.run(ACK, **parameters(acks))

    return acknowledge


async def pruning(table: Table) -> None:
    for state in FINAL:
        await table.run(prune(state), ids=list(await table.states()))  # all there are: it takes its own


VERBS: dict[str, Callable[[Table], Awaitable[object]]] = {
    "stage": lambda table: table.run(stage(None), limit=100, asleep=["default"], horizon=60.0),
    "claim": lambda table: table.claim(demand=100),
    "release": lambda table: table.run(release(None), producer="gone", keep=[]),
    "rescue": lambda table: table.run(rescue(None), batch=100, grace=1.0, rescue_after=1.0),
    "prune": pruning,
    **{verb: acknowledging(state) for verb, state in ACKS.items()},
}


@pytest.fixture
async def table(engine: AsyncEngine) -> AsyncIterator[Table]:
    async with engine.connect() as connection:
        yield Table(await connection.execution_options(isolation_level="AUTOCOMMIT"))


async def populate(table: Table) -> dict[int, JobState]:
    """Jobs in every state, with attempts left and without, all of them old enough for everything."""
    moments = {f"{name}_at": "'2020-01-01'" for name in ("scheduled", "attempted", *FINAL)}
    return {
        await table.add(state=f"'{state}'", attempt=attempt, attempted_by="ARRAY['node', 'gone']", **moments): state
        for state in JobState
        for attempt in ("1", "20")
    }


@pytest.mark.parametrize("verb", VERBS)
async def test_a_statement_makes_exactly_the_moves_of_its_verb(verb: str, table: Table) -> None:
    before = await populate(table)
    await VERBS[verb](table)
    left = await table.states()
    after = {job_id: JobState(left[job_id]) if job_id in left else None for job_id in before}
    assert {(before[job_id], after[job_id]) for job_id in before if after[job_id] is not before[job_id]} == moves(verb)


async def test_an_insert_makes_exactly_the_moves_of_its_verb(engine: AsyncEngine) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = [Job(worker="w"), Job(worker="w", schedule_in=5), Job(worker="w", scheduled_at=soon)]
    await enqueue(engine, *made)
    assert {(None, job.state) for job in await jobs(engine)} == moves("insert")


def test_every_verb_of_the_table_is_tested_here() -> None:
    assert {move.verb for move in TRANSITIONS} == {*VERBS, "insert"}


def test_no_move_is_listed_twice() -> None:
    assert len(set(TRANSITIONS)) == len(TRANSITIONS)


def test_every_state_but_the_suspended_is_entered_and_left() -> None:
    assert {move.target for move in TRANSITIONS} - {None} == {*JobState} - {JobState.SUSPENDED}
    assert {move.source for move in TRANSITIONS} - {None} == {*JobState} - {JobState.SUSPENDED}


def test_what_waits_is_staged_and_what_has_ended_is_only_pruned() -> None:
    assert {move.source for move in TRANSITIONS if move.verb == "stage"} == set(WAITING)
    assert {move.verb for move in TRANSITIONS if move.source in FINAL} == {"prune"}
    assert {move.source for move in TRANSITIONS if move.target is None} == set(FINAL)


@pytest.mark.parametrize("move", TRANSITIONS, ids=lambda move: f"{move.verb}-{move.source}-{move.target}")
def test_the_diagram_has_a_line_for_each_move(move: Transition) -> None:
    line = f"    {move.source or '[*]'} --> {move.target or '[*]'}: {move.verb}"
    assert diagram().splitlines().count(line) == 1


def test_the_diagram_has_no_other_lines() -> None:
    head, *lines = diagram().splitlines()
    assert head == "stateDiagram-v2"
    assert len(lines) == len(TRANSITIONS)
    assert all(re.fullmatch(r" {4}(\w+|\[\*\]) --> (\w+|\[\*\]): \w+", line) for line in lines)


def test_a_claim_takes_what_is_available_and_nothing_else() -> None:
    available = JobState.AVAILABLE
    assert moves("claim") == {(available, JobState.EXECUTING), (available, JobState.DISCARDED)}


async def test_the_states_are_those_of_the_database(table: Table) -> None:
    assert await table.scalar("SELECT enum_range(NULL::oban_job_state)::text[]") == [state.value for state in JobState]
