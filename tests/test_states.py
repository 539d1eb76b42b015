"""`TRANSITIONS` against the statements themselves, run over rows in every state."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Job, JobState
from sqla_oban.queries.ack import ACK, Ack, parameters
from sqla_oban.queries.cancel import cancel
from sqla_oban.queries.delete import delete
from sqla_oban.queries.prune import prune
from sqla_oban.queries.release import release
from sqla_oban.queries.rescue import rescue
from sqla_oban.queries.retry import retry
from sqla_oban.queries.signal import give
from sqla_oban.queries.stage import stage
from sqla_oban.queries.update import update
from sqla_oban.states import FINAL, TRANSITIONS, WAITING, Transition, diagram
from tests.queries.table import FUTURE, PAST, Table
from tests.support import enqueue, jobs

Move = tuple[JobState | None, JobState | None]

ACKS = {
    "complete": JobState.COMPLETED,
    "snooze": JobState.SCHEDULED,
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


ALL = select(Job.id).where(Job.id > 0)
MARK = """jsonb_build_object('cancel_requested', extract(epoch FROM timestamp '2020-01-01'))"""


async def cancelling(table: Table) -> None:
    """By an operator, and by the worker's own word; of those that run, an operator only marks."""
    await table.run(cancel(ALL, None))
    assert {state for state in (await table.states()).values() if state == JobState.EXECUTING}
    await acknowledging(JobState.CANCELLED)(table)


async def updating(table: Table) -> None:
    """To another moment, and of those that it concerns to the other side of now."""
    by_state = {state: [job_id for job_id, of in (await table.states()).items() if of == state] for state in JobState}
    past, future = text(PAST), text(FUTURE)
    for state, ids in by_state.items():
        if state != JobState.EXECUTING:  # which the verb refuses: see tests/control
            await table.run(update({"scheduled_at": past if state == JobState.SCHEDULED else future}, None), ids=ids)


WAIT = """'{"signal_wait": {"name": "go", "execution": 1577836800}}'"""
"""Put aside by the execution of those who were attempted on 2020-01-01."""
SIGNALLED = """'{"signal_wait": {"name": "go", "execution": 1577836800}, "signals": {"go": 1}}'"""
METAS = {
    "release": ("'{}'", MARK),
    "rescue": ("'{}'", MARK),
    "park": (WAIT, SIGNALLED),
    "signal": ("'{}'", WAIT, SIGNALLED),
}

VERBS: dict[str, Callable[[Table], Awaitable[object]]] = {
    "stage": lambda table: table.run(stage(None), limit=100, aside=[], asleep=["default"], producers=[], horizon=60.0),
    "claim": lambda table: table.claim(demand=100),
    "release": lambda table: table.run(release(None), producer="gone", keep=[], only=None),
    "rescue": lambda table: table.run(rescue(None), batch=100, grace=1.0, rescue_after=1.0, aside=[]),
    "prune": pruning,
    "retry": lambda table: table.run(retry(ALL, None)),
    "delete": lambda table: table.run(delete(ALL)),
    "update": updating,
    "cancel": cancelling,
    "signal": lambda table: table.run(give(ALL, None, name="go", payload="1")),
    "park": acknowledging(JobState.SCHEDULED),
    **{verb: acknowledging(state) for verb, state in ACKS.items()},
}


async def populate(table: Table, metas: Sequence[str]) -> dict[int, JobState]:
    """Jobs in every state, with attempts left and without, all of them old enough for everything."""
    moments = {f"{name}_at": "'2020-01-01'" for name in ("scheduled", "attempted", *FINAL)}
    held = {"attempted_by": "ARRAY['node', 'gone']", **moments}
    return {
        await table.add(state=f"'{state}'", attempt=attempt, meta=meta, **held): state
        for state in JobState
        for attempt in ("1", "20")
        for meta in metas
    }


@pytest.mark.parametrize("verb", VERBS)
async def test_a_statement_makes_exactly_the_moves_of_its_verb(verb: str, table: Table) -> None:
    before = await populate(table, METAS.get(verb, ("'{}'",)))
    await VERBS[verb](table)
    left = await table.states()
    after = {job_id: JobState(left[job_id]) if job_id in left else None for job_id in before}
    assert {(before[job_id], after[job_id]) for job_id in before if after[job_id] is not before[job_id]} == moves(verb)


async def test_an_insert_makes_exactly_the_moves_of_its_verb(engine: AsyncEngine) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = [Job(worker="w"), Job(worker="w", schedule_in=5), Job(worker="w", scheduled_at=soon)]
    made.append(Job(worker="w", state=JobState.SUSPENDED))
    await enqueue(engine, *made)
    assert {(None, job.state) for job in await jobs(engine)} == moves("insert")


async def test_who_is_retried_while_another_has_the_turn_makes_exactly_the_moves_of_waiting(table: Table) -> None:
    await table.add(chain_key="'one'")
    before = {await table.add(state=f"'{state}'", chain_key="'one'"): state for state in FINAL}
    await table.run(retry(ALL, None))
    after = await table.states()
    assert {(before[job_id], JobState(after[job_id])) for job_id in before} == moves("wait")


async def test_who_is_given_the_turn_makes_exactly_the_moves_of_that(table: Table) -> None:
    first = [await table.add(chain_key=chain) for chain in ("'one'", "'two'")]
    later = {"state": "'scheduled'", "scheduled_at": FUTURE}
    behind = [await table.add(chain_key="'one'"), await table.add(chain_key="'two'", **later)]
    before = await table.states()
    await table.scalar(f"WITH u AS (UPDATE oban_jobs SET state = 'completed' WHERE id <= {first[-1]}) SELECT 1")
    after = await table.states()
    assert {(JobState(before[job_id]), JobState(after[job_id])) for job_id in behind} == moves("turn")


def test_every_verb_of_the_table_is_tested_here() -> None:
    assert {move.verb for move in TRANSITIONS} == {
        *VERBS,
        *("insert", "wait", "turn"),
        *("follow", "restore"),  # of workflows: tests/migrations/test_workflows.py
    }


def test_no_move_is_listed_twice() -> None:
    assert len(set(TRANSITIONS)) == len(TRANSITIONS)


def test_every_state_is_left_and_entered() -> None:
    assert {move.target for move in TRANSITIONS} - {None} == {*JobState}
    assert {move.source for move in TRANSITIONS} - {None} == {*JobState}


def test_what_waits_is_staged_and_what_has_ended_is_only_pruned_or_asked_for_again() -> None:
    assert {move.source for move in TRANSITIONS if move.verb == "stage"} == set(WAITING)
    assert {move.verb for move in TRANSITIONS if move.source in FINAL} == {
        "prune",
        "retry",
        "delete",
        "restore",
        "wait",
    }
    assert {move.source for move in TRANSITIONS if move.verb == "prune"} == set(FINAL)


def test_what_runs_is_neither_deleted_nor_updated_nor_retried() -> None:
    by_others = {"prune", "retry", "delete", "update"}
    assert not {move for move in TRANSITIONS if move.source is JobState.EXECUTING and move.verb in by_others}


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
