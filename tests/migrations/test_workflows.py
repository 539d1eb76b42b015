"""The proof of releases: random transactions on several connections against a model of what must come out.

INVARIANT 1: when a transaction has ended, each job is as the graph and what is committed say: suspended while a job
    that it depends on has not ended, then free to run, or cancelled if one of them did not do its work; whoever ended
    it.
INVARIANT 2: a transaction that is rolled back or dies releases nothing, and keeps nobody else from releasing.
INVARIANT 3: no transaction waits for another that has not begun to commit.
INVARIANT 4: what a transaction held and gave back unchanged is released by the leader's statement.
"""

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from sqla_oban import Job, Workflow
from sqla_oban.migrations import migrate
from sqla_oban.queries.notes import SETTLE_NOW
from sqla_oban.queries.overdue import FROM_THE_FIRST, overdue, undue
from sqla_oban.queries.workflow import note
from tests.machine import run_machine
from tests.migrations.database import noted

NAMES = ["a", "b", "c", "d", "e", "f"]
ENDINGS = ["completed", "cancelled", "discarded", "deleted"]
STATES = text("SELECT workflow_name, CAST(state AS text) FROM oban_jobs WHERE workflow_id = :id")
END = "UPDATE oban_jobs SET state = '{0}', {0}_at = timezone('UTC', clock_timestamp()) WHERE id = :id"
RETRY = (
    "UPDATE oban_jobs SET state = 'available', completed_at = NULL, cancelled_at = NULL, discarded_at = NULL "
    "WHERE id = :id"
)
OVERDUE, UNDUE = overdue(None), undue(None)


def mend(connection: Connection) -> set[int]:
    """As the leader does, two jobs at a time; returns those that were noted."""
    found = {row[0] for row in connection.execute(UNDUE, {"batch": 100})}
    key: dict[str, Any] = FROM_THE_FIRST
    while True:
        jobs, looked, moment, last = connection.execute(OVERDUE, {"batch": 2, **key}).one()
        found.update(jobs or ())
        if looked < 2:
            return found
        key = {"moment": moment, "id": last}


@dataclass
class Model:
    """What the table must say, by the names of the jobs; None: deleted."""

    deps: dict[str, dict[str, tuple[str, ...]]]
    states: dict[str, str | None] = field(default_factory=dict)
    edges: dict[tuple[str, str], str] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.states = {name: "suspended" if deps else "available" for name, deps in self.deps.items()}
        self.edges = {(dep, name): "open" for name, deps in self.deps.items() for dep in deps}

    def put(self, name: str, state: str | None) -> None:
        self.states[name] = state
        self.followed.discard(name)

    def settle(self) -> None:
        before = None
        while before != (self.states, self.edges):
            before = (dict(self.states), dict(self.edges))
            for (dep, name), edge in before[1].items():
                if self.states[dep] is not None or edge == "open":
                    self.edges[dep, name] = self._verdict(self.states[dep], self.deps[name][dep])
            for name, state in before[0].items():
                edges = {self.edges[dep, name] for dep in self.deps[name]}
                if state == "cancelled" and name in self.followed and "broken" not in edges:
                    self.put(name, "suspended")
                elif state == "suspended" and "broken" in edges:
                    self.put(name, "cancelled")
                    self.followed.add(name)
                elif state == "suspended" and "open" not in edges:
                    self.put(name, "available")

    def behind(self, names: set[str]) -> set[str]:
        found = set(names)
        for name, deps in self.deps.items():  # in the order in which they were added
            if found & deps.keys():
                found.add(name)
        return found

    @staticmethod
    def _verdict(state: str | None, ignored: tuple[str, ...]) -> str:
        if state == "completed" or (state or "deleted") in ignored:
            return "met"
        return "broken" if state in {None, "cancelled", "discarded"} else "open"


@dataclass
class Side:
    """One connection, and what its open transaction has done."""

    connection: Connection
    done: list[tuple[str, str | None]] = field(default_factory=list)


class Workflows(RuleBasedStateMachine):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._sides = [Side(engine.connect()) for _ in range(3)]
        for side in self._sides:
            side.connection.execute(text("SET lock_timeout = '5s'"))  # who waits for a row fails the test
            side.connection.commit()

    @initialize(data=st.data())
    def build(self, data: Any) -> None:
        ignored = st.sets(st.sampled_from(ENDINGS[1:])).map(lambda some: tuple(sorted(some)))
        deps = {
            name: data.draw(st.dictionaries(st.sampled_from(NAMES[:place]), ignored, max_size=3)) if place else {}
            for place, name in enumerate(NAMES)
        }
        self._model = Model(deps)
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            workflow = Workflow(name="w")
            for name, edges in deps.items():
                workflow.add(name, Job(worker="w"), deps=list(edges))
            session.add(workflow)
            session.flush()
            for name, edges in deps.items():
                for dep, some in edges.items():
                    session.execute(
                        text(
                            "UPDATE oban_workflow_edges SET ignored = :some "
                            "WHERE upstream_id = :up AND downstream_id = :on"
                        ),
                        {"some": list(some), "up": workflow.jobs[dep].id, "on": workflow.jobs[name].id},
                    )
        self._id = workflow.id
        self._ids = {name: job.id for name, job in workflow.jobs.items()}

    @rule(side=st.integers(0, 2), name=st.sampled_from(NAMES), ending=st.sampled_from(ENDINGS))
    def end(self, side: int, name: str, ending: str) -> None:
        if name in self._held() or self._model.states[name] not in {"available", "suspended"}:
            return
        if self._model.states[name] == "suspended" and ending in {"completed", "discarded"}:
            return
        statement = "DELETE FROM oban_jobs WHERE id = :id" if ending == "deleted" else END.format(ending)
        self._do(side, statement, name, None if ending == "deleted" else ending)

    @rule(side=st.integers(0, 2), name=st.sampled_from(NAMES))
    def forget(self, side: int, name: str) -> None:
        """What has ended is deleted, of which its edges keep how it ended."""
        if name not in self._held() and self._model.states[name] in {"completed", "cancelled", "discarded"}:
            self._do(side, "DELETE FROM oban_jobs WHERE id = :id", name, None)

    @rule(side=st.integers(0, 2), name=st.sampled_from(NAMES))
    def retry(self, side: int, name: str) -> None:
        if name not in self._held() and self._model.states[name] in {"completed", "cancelled", "discarded"}:
            self._do(side, RETRY, name, "available")

    @rule(side=st.integers(0, 2))
    def commit(self, side: int) -> None:
        one = self._sides[side]
        one.connection.commit()
        for name, state in one.done:
            self._model.put(name, state)
        one.done = []
        self._compare()

    @rule(side=st.integers(0, 2), dies=st.booleans())
    def roll_back(self, side: int, *, dies: bool) -> None:
        one = self._sides[side]
        if dies:
            one.connection.invalidate()  # the socket is closed; the server finds out by itself
        one.connection.rollback()
        held, one.done = bool(one.done), []
        if dies:
            one.connection.execute(text("SET lock_timeout = '5s'"))
            one.connection.commit()
        if held:
            self._mend()
            self._compare()

    def teardown(self) -> None:
        for side in self._sides:
            side.connection.rollback()
            side.connection.close()
            side.done = []
        if hasattr(self, "_model"):
            self._mend()
            self._compare()

    def _do(self, side: int, statement: str, name: str, state: str | None) -> None:
        one = self._sides[side]
        assert one.connection.execute(text(statement), {"id": self._ids[name]}).rowcount == 1
        one.done.append((name, state))

    def _held(self) -> set[str]:
        return {name for side in self._sides for name, _ in side.done}

    def _mend(self) -> None:
        with self._engine.begin() as connection:
            mend(connection)

    def _compare(self) -> None:
        self._model.settle()
        uncertain = self._model.behind(self._held())
        with self._engine.connect() as connection:
            found = {row[0]: row[1] for row in connection.execute(STATES, {"id": self._id})}
        assert {name: found.get(name) for name in NAMES if name not in uncertain} == {
            name: state for name, state in self._model.states.items() if name not in uncertain
        }


def test_releases_are_what_the_model_says(sync_engine: Engine) -> None:
    run_machine(partial(Workflows, sync_engine), examples=20, steps=25)


def joined(engine: Engine) -> Workflow:
    """Two jobs, and one that depends on both."""
    workflow = Workflow(name="joined")
    for name in ("a", "b"):
        workflow.add(name, Job(worker="w"))
    workflow.add("last", Job(worker="w"), deps=["a", "b"])
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.add(workflow)
    return workflow


def states(engine: Engine, workflow: Workflow) -> dict[str, str]:
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(STATES, {"id": workflow.id})}


def complete(connection: Connection, workflow: Workflow, name: str) -> None:
    connection.execute(text(END.format("completed")), {"id": workflow.jobs[name].id})


def test_of_two_that_end_the_last_dependencies_at_once_the_second_releases(sync_engine: Engine) -> None:
    """Each has looked before the other's commit could be seen, unless the second waits for the first."""
    workflow = joined(sync_engine)
    with sync_engine.connect() as one, sync_engine.connect() as other:
        complete(one, workflow, "a")
        complete(other, workflow, "b")
        one.execute(SETTLE_NOW)  # as its commit begins
        committing = threading.Thread(target=other.commit)
        committing.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        with sync_engine.connect() as watch:
            while committing.is_alive() and not watch.execute(waiting).scalar():
                watch.rollback()
        one.commit()
        committing.join(30)
    assert states(sync_engine, workflow) == {"a": "completed", "b": "completed", "last": "available"}


def test_a_transaction_that_is_idle_keeps_nobody_waiting(sync_engine: Engine) -> None:
    workflow = joined(sync_engine)
    with sync_engine.connect() as idle, sync_engine.connect() as other:
        complete(idle, workflow, "a")
        other.execute(text("SET lock_timeout = '2s'"))
        complete(other, workflow, "b")
        other.commit()
        assert states(sync_engine, workflow)["last"] == "suspended"
        idle.commit()
    assert states(sync_engine, workflow)["last"] == "available"


def test_one_whose_row_is_held_is_released_by_whoever_changes_it(sync_engine: Engine) -> None:
    workflow = joined(sync_engine)
    with sync_engine.connect() as holder, sync_engine.connect() as other:
        holder.execute(text("UPDATE oban_jobs SET priority = 3 WHERE id = :id"), {"id": workflow.jobs["last"].id})
        for name in ("a", "b"):
            complete(other, workflow, name)
        other.commit()
        assert states(sync_engine, workflow)["last"] == "suspended"
        holder.commit()
    assert states(sync_engine, workflow)["last"] == "available"


def test_one_whose_row_is_held_while_its_reason_goes_away_is_brought_back_by_the_leader(sync_engine: Engine) -> None:
    """Its holder rolls back, so no trigger sees it again."""
    workflow = joined(sync_engine)
    with sync_engine.connect() as holder, sync_engine.connect() as other:
        other.execute(text(END.format("cancelled")), {"id": workflow.jobs["b"].id})
        other.commit()
        assert states(sync_engine, workflow)["last"] == "cancelled"
        holder.execute(text(RETRY), {"id": workflow.jobs["last"].id})
        other.execute(text(RETRY), {"id": workflow.jobs["b"].id})
        other.commit()
        holder.rollback()
        assert states(sync_engine, workflow)["last"] == "cancelled"
        assert mend(other) == {workflow.jobs["last"].id}
        other.commit()
        assert states(sync_engine, workflow)["last"] == "suspended"
        assert mend(other) == set()


@pytest.mark.parametrize("lost", ["the first end", "the first end, settled", "an end between"])
def test_what_a_savepoint_takes_back_is_not_missed_at_the_commit(sync_engine: Engine, lost: str) -> None:
    """The first note of a transaction has the others settled: it may be the one that is rolled back."""
    workflow = joined(sync_engine)
    with sync_engine.begin() as connection:
        if lost == "an end between":
            complete(connection, workflow, "a")
        savepoint = connection.begin_nested()
        complete(connection, workflow, "b")
        if lost == "the first end, settled":
            connection.execute(SETTLE_NOW)
        savepoint.rollback()
        for name in {"a", "b"} - ({"a"} if lost == "an end between" else set()):
            complete(connection, workflow, name)
    assert states(sync_engine, workflow)["last"] == "available"


def test_what_is_noted_after_a_settlement_is_settled_as_well(sync_engine: Engine) -> None:
    workflow = joined(sync_engine)
    with sync_engine.begin() as connection:
        complete(connection, workflow, "a")
        savepoint = connection.begin_nested()
        connection.execute(SETTLE_NOW)
        savepoint.rollback()  # what was settled is to be settled again
        connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        connection.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        complete(connection, workflow, "b")
    assert states(sync_engine, workflow)["last"] == "available"


def test_a_transaction_is_settled_once_however_many_jobs_it_ends(sync_engine: Engine) -> None:
    workflow, other = joined(sync_engine), joined(sync_engine)
    ringing = text("SELECT count(*) FROM oban_notes WHERE rings")
    with sync_engine.begin() as connection:
        for one in (workflow, other):
            ids = [one.jobs[name].id for name in ("a", "b")]
            connection.execute(text(END.format("completed").replace(":id", "ANY(:ids)")), {"ids": ids})
        assert (noted(connection), connection.scalar(ringing)) == (4, 1)
    with sync_engine.begin() as connection:
        connection.execute(note(None), {"workflow": workflow.id, "ids": [job.id for job in workflow.jobs.values()]})
        assert (noted(connection), connection.scalar(ringing)) == (3, 1)
    for one in (workflow, other):
        assert states(sync_engine, one)["last"] == "available"


def test_a_transaction_settles_what_it_has_ended_in_several_schemas(sync_engine: Engine) -> None:
    """One that is first to be noted here has nothing settled there."""
    with sync_engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS elsewhere CASCADE"))
        connection.execute(text("CREATE SCHEMA elsewhere"))
        migrate(connection, schema="elsewhere")
    there = sync_engine.execution_options(schema_translate_map={None: "elsewhere"})
    workflows = [joined(sync_engine), joined(there)]
    with sync_engine.begin() as connection:
        for schema, workflow in zip(("public", "elsewhere"), workflows, strict=True):
            connection.execute(text(f"SET LOCAL search_path = {schema}"))
            for name in ("a", "b"):
                complete(connection, workflow, name)
    for schema in ("public", "elsewhere"):
        with sync_engine.connect() as connection:
            state = f"SELECT CAST(state AS text) FROM {schema}.oban_jobs WHERE workflow_name = 'last'"
            assert connection.scalar(text(state)) == "available", schema
    with sync_engine.begin() as connection:
        connection.execute(text("DROP SCHEMA elsewhere CASCADE"))


def test_a_trigger_that_refuses_a_release_does_not_refuse_the_end_of_what_it_waited_for(sync_engine: Engine) -> None:
    workflow = joined(sync_engine)
    with sync_engine.begin() as connection:
        connection.execute(
            text("ALTER TABLE oban_jobs ADD CONSTRAINT refused CHECK (priority <> 9 OR state = 'suspended') NOT VALID")
        )
        connection.execute(text("UPDATE oban_jobs SET priority = 9 WHERE id = :id"), {"id": workflow.jobs["last"].id})
    try:
        with sync_engine.begin() as connection:
            for name in ("a", "b"):
                complete(connection, workflow, name)
        assert states(sync_engine, workflow) == {"a": "completed", "b": "completed", "last": "suspended"}
    finally:
        with sync_engine.begin() as connection:
            connection.execute(text("ALTER TABLE oban_jobs DROP CONSTRAINT refused"))
    with sync_engine.begin() as connection:
        assert mend(connection) == {workflow.jobs["last"].id}
    assert states(sync_engine, workflow)["last"] == "available"


def fan_in(engine: Engine, width: int) -> Workflow:
    """One job that waits for many."""
    workflow = Workflow(name="fan-in")
    names = [str(number) for number in range(width)]
    for name in names:
        workflow.add(name, Job(worker="w"))
    workflow.add("last", Job(worker="w"), deps=names)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.add(workflow)
    return workflow


def buffers_of_an_end(engine: Engine, workflow: Workflow, name: str) -> int:
    with engine.begin() as connection:
        complete(connection, workflow, name)
        explain = text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT oban_settle()")
        plan = connection.execute(explain).scalar_one()[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_an_end_reads_as_much_however_many_others_are_waited_for(sync_engine: Engine) -> None:
    few, many = fan_in(sync_engine, 20), fan_in(sync_engine, 3_000)
    for half in range(10):
        buffers_of_an_end(sync_engine, few, str(half))
    with sync_engine.begin() as connection:  # of the many, half have ended already
        ids = [many.jobs[str(number)].id for number in range(1_500)]
        connection.execute(text(END.format("completed").replace(":id", "ANY(:ids)")), {"ids": ids})
    buffers_of_an_end(sync_engine, few, "10")  # with what is read once in a session
    read = [buffers_of_an_end(sync_engine, few, "11"), buffers_of_an_end(sync_engine, many, "1500")]
    assert read[1] <= 2 * read[0], read


def test_edges_are_written_only_when_they_break_or_are_whole_again(sync_engine: Engine) -> None:
    workflow = joined(sync_engine)
    places = text("SELECT array_agg(ctid::text ORDER BY upstream_id) FROM oban_workflow_edges")
    with sync_engine.begin() as connection:
        for statement, writes in (
            (END.format("completed"), False),
            (RETRY, False),
            (END.format("cancelled"), True),
            (RETRY, True),
            ("DELETE FROM oban_jobs WHERE id = :id", True),
        ):
            before = connection.scalar(places)
            connection.execute(text(statement), {"id": workflow.jobs["a"].id})
            connection.execute(SETTLE_NOW)
            assert (connection.scalar(places) != before) is writes, statement


def test_jobs_without_a_workflow_leave_no_notes_and_nothing_is_kept_of_others(sync_engine: Engine) -> None:
    workflow = joined(sync_engine)
    with sync_engine.begin() as connection:
        connection.execute(text("INSERT INTO oban_jobs (worker) VALUES ('w')"))
        connection.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE workflow_id IS NULL"))
        assert noted(connection) == 0
        complete(connection, workflow, "a")
        assert noted(connection) == 1
    with sync_engine.connect() as connection:
        assert noted(connection) == 0
