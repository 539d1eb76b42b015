"""The proof of callbacks: random transactions on several connections, some of them killed.

INVARIANT 1: in any view no callback of a batch is there twice, and none whose time has not come.
INVARIANT 2: once nothing is open and the leader has swept, each whose time has come is there.
INVARIANT 3: nothing fails but by waiting too long for a lock.
"""

from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from sqla_oban import Batch, Job
from sqla_oban.maintenance.mender import FIRST
from sqla_oban.queries.batches import mend_batches
from tests.emptying import emptied
from tests.machine import run_machine

LOCK_NOT_AVAILABLE = "55P03"
MEMBERS = text("SELECT id, CAST(state AS text) AS state, attempt FROM oban_jobs WHERE batch_id IS NOT NULL ORDER BY id")
CALLED = text("SELECT meta->'batch'->>'callback' FROM oban_jobs WHERE batch_id IS NULL")
UNFINISHED = {"available", "executing", "retryable"}

sides, ids = st.integers(0, 2), st.integers(0, 1_000)


def callback() -> Job:
    return Job(worker="called")


class Called(RuleBasedStateMachine):
    """Three sessions that end, retry and delete the jobs of one batch."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.observer = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self.observer.execute(emptied())
        self.sides = [Session(engine) for _ in range(3)]
        with Session(engine) as session, session.begin():
            jobs = [Job(worker="w") for _ in range(4)]
            session.add(Batch(jobs, exhausted=callback(), completed=callback(), discarded=callback()))

    def teardown(self) -> None:
        self.settle()
        for side in self.sides:
            side.close()
        self.observer.close()

    def look(self, connection: Connection) -> tuple[list[Any], Counter[str]]:
        members = list(connection.execute(MEMBERS))
        called = Counter(connection.scalars(CALLED))
        assert all(number == 1 for number in called.values()), "invariant 1"
        return members, called

    def step(self, at: int, states: set[str], which: int, change: str, lock: str = "FOR UPDATE SKIP LOCKED") -> None:
        side = self.sides[at]
        members, called = self.look(side.connection())
        chosen = [row.id for row in members if row.state in states]
        if not chosen:
            return
        locked = f"WITH chosen AS MATERIALIZED (SELECT id FROM oban_jobs WHERE id = :id {lock}) "
        try:
            side.execute(text(locked + change), {"id": chosen[which % len(chosen)]})
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise AssertionError("invariant 3") from error
            side.rollback()
            return
        members, now = self.look(side.connection())
        if new := now - called:
            assert "exhausted" not in new or not UNFINISHED & {row.state for row in members}, "invariant 1"
            assert "completed" not in new or {row.state for row in members} <= {"completed"}, "invariant 1"

    @rule(at=sides, which=ids)
    def claim(self, at: int, which: int) -> None:
        change = "UPDATE oban_jobs j SET state = 'executing', attempt = attempt + 1 FROM chosen WHERE j.id = chosen.id"
        self.step(at, {"available"}, which, change)

    @rule(at=sides, which=ids, state=st.sampled_from(["completed", "discarded", "retryable", "completed"]))
    def end(self, at: int, which: int, state: str) -> None:
        change = f"UPDATE oban_jobs j SET state = '{state}' FROM chosen WHERE j.id = chosen.id"
        self.step(at, {"available", "executing"}, which, change)

    @rule(at=sides, which=ids)
    def retry(self, at: int, which: int) -> None:
        change = "UPDATE oban_jobs j SET state = 'available' FROM chosen WHERE j.id = chosen.id"
        self.step(at, {"retryable", "discarded"}, which, change, "FOR UPDATE")

    @rule(at=sides, which=ids)
    def delete(self, at: int, which: int) -> None:
        change = "DELETE FROM oban_jobs j USING chosen WHERE j.id = chosen.id"
        self.step(at, {"available", "retryable", "completed"}, which, change, "FOR UPDATE")

    @rule(at=sides)
    def commit(self, at: int) -> None:
        self.sides[at].commit()
        self.look(self.observer)

    @rule(at=sides)
    def roll_back(self, at: int) -> None:
        self.sides[at].rollback()
        self.look(self.observer)

    @rule(at=sides)
    def kill(self, at: int) -> None:
        pid = self.sides[at].connection().scalar(text("SELECT pg_backend_pid()"))
        self.observer.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        with suppress(OperationalError):
            self.sides[at].invalidate()
        self.sides[at] = Session(self.engine)
        self.look(self.observer)

    @rule()
    def settle(self) -> None:
        for side in self.sides:
            side.commit()
        self.observer.execute(mend_batches(None), {"batch": 10, "after": FIRST})
        members, called = self.look(self.observer)
        states = {row.state for row in members}
        assert called["exhausted"] or UNFINISHED & states, "invariant 2"
        assert called["discarded"] or "discarded" not in states, "invariant 2"


def test_whatever_transactions_do_each_callback_is_made_once(impatient_engine: Engine) -> None:
    run_machine(partial(Called, impatient_engine), examples=20)
