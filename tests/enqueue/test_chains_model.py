"""The proof of chains: random transactions on several connections, some of them killed, against a model.

INVARIANT 1: at any moment, in any view, at most one row of a chain has the turn.
INVARIANT 2: whatever has committed, a chain in which somebody waits has somebody in turn, once nothing is open; where
    rows that wait were changed by transactions that overlap, at the latest after the leader's sweep.
INVARIANT 3: who gets the turn is the first, by id, of those who waited.
INVARIANT 4: nobody changes the state of a row otherwise: what a statement did not write is as it was, or released.
INVARIANT 5: nothing fails but by waiting too long for a lock.
"""

from contextlib import suppress
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from sqla_oban import Chain, Job, insert_all
from sqla_oban.queries.chains import mend_chains
from sqla_oban.queries.notes import SETTLE_NOW
from tests.machine import run_machine

ROWS = text("SELECT id, chain_key, chain_hold, chain_waits, CAST(state AS text) AS state FROM oban_jobs ORDER BY id")
LIVE = ("available", "scheduled", "executing", "retryable")
FINAL = ("completed", "cancelled", "discarded")
CHAINS = [Chain("n"), Chain("n", on_discard="continue")]
LOCK_NOT_AVAILABLE = "55P03"

sides, ids = st.integers(0, 2), st.integers(0, 1_000)
numbers = st.integers(0, 1)


def occupies(row: Any) -> bool:
    return row.state in LIVE or (row.state == "discarded" and bool(row.chain_hold))


def waits(row: Any) -> bool:
    return row.state == "suspended" and bool(row.chain_waits)


class Chained(RuleBasedStateMachine):
    """Three sessions; what waits for a lock gives up, and its transaction is rolled back."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.observer = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self.observer.execute(text("DELETE FROM oban_jobs"))
        self.sides = [Session(engine) for _ in range(3)]

    def teardown(self) -> None:
        self.commit_all()
        for side in self.sides:
            side.close()
        self.observer.close()

    @initialize(strict=st.booleans())
    def begin(self, strict: bool) -> None:
        self.strict = strict
        """Whether nobody touches rows that wait, so that no release finds one locked."""

    def touchable(self, before: dict[int, Any]) -> list[int]:
        return [id_ for id_, row in before.items() if not (self.strict and row.state == "suspended")]

    def rows(self, connection: Connection) -> list[Any]:
        rows = list(connection.execute(ROWS))
        turns = [row.chain_key for row in rows if occupies(row)]
        assert len(turns) == len(set(turns)), "invariant 1"
        return rows

    def step(self, at: int, work: Any) -> None:
        """Do something in a session, and look at what it came to."""
        side = self.sides[at]
        connection = side.connection()
        before = {row.id: row for row in self.rows(connection)}
        written: set[int] = set()
        try:
            written = set(work(side, before))
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise AssertionError("invariant 5") from error
            side.rollback()
        else:
            after = self.rows(connection)
            for row in after:
                self.check(row, before, after, written)
        self.rows(self.observer)

    def check(self, row: Any, before: dict[int, Any], after: list[Any], written: set[int]) -> None:
        old = before.get(row.id)
        if row.id in written or old is None or old.state == row.state:
            return  # a row that others committed meanwhile is new here
        if waits(old) and occupies(row):
            waited = {one.id for one in before.values() if one.chain_key == row.chain_key and waits(one)}
            ahead = [one for one in after if one.id in waited and waits(one) and one.id < row.id]
            assert ahead == [], "invariant 3"
            return
        raise AssertionError(f"invariant 4: {old} became {row}")

    @rule(
        at=sides,
        wanted=st.lists(st.tuples(numbers, st.sampled_from(CHAINS)), min_size=1, max_size=3),
        bulk=st.booleans(),
    )
    def add(self, at: int, wanted: list[tuple[int, Chain]], bulk: bool) -> None:
        def work(side: Session, _: Any) -> list[int]:
            new = [Job(worker="w", args={"n": number}, chain=chain) for number, chain in wanted]
            if bulk:
                insert_all(side, new)
            else:
                side.add_all(new)
                side.flush()
            return [one.id for one in new]

        self.step(at, work)

    @rule(at=sides, which=ids, state=st.sampled_from(FINAL))
    def end(self, at: int, which: int, state: str) -> None:
        """As acknowledgements do: a row that has the turn, unless somebody has it locked."""

        def work(side: Session, before: dict[int, Any]) -> list[int]:
            turns = [row.id for row in before.values() if occupies(row) and row.state != "discarded"]
            if not turns:
                return []
            return self.change(side, turns[which % len(turns)], state, "FOR UPDATE SKIP LOCKED")

        self.step(at, work)

    @rule(
        at=sides,
        number=numbers,
        chain=st.sampled_from(CHAINS),
        which=ids,
        state=st.sampled_from(FINAL),
        first=st.booleans(),
    )
    def add_and_end_at_once(self, at: int, number: int, chain: Chain, which: int, state: str, first: bool) -> None:
        """What chance brings together too rarely."""
        other = (at + 1) % len(self.sides)
        self.add(at, [(number, chain)], bulk=False)
        self.end(other, which, state)
        self.add(at, [(number, chain)], bulk=False)
        for one in (at, other) if first else (other, at):
            self.commit(one)

    @rule(at=sides, which=ids, state=st.sampled_from((*LIVE, *FINAL)))
    def move(self, at: int, which: int, state: str) -> None:
        """As an operator or another library does: any row, whatever it is doing."""

        def work(side: Session, before: dict[int, Any]) -> list[int]:
            rows = self.touchable(before)
            return self.change(side, rows[which % len(rows)], state, "FOR UPDATE") if rows else []

        self.step(at, work)

    def change(self, side: Session, id_: int, state: str, lock: str) -> list[int]:
        found = side.execute(
            text(
                f"WITH chosen AS MATERIALIZED (SELECT id FROM oban_jobs WHERE id = :id {lock}) "
                "UPDATE oban_jobs SET state = CAST(:state AS oban_job_state) FROM chosen "
                "WHERE oban_jobs.id = chosen.id RETURNING oban_jobs.id"
            ),
            {"id": id_, "state": state},
        )
        return list(found.scalars())

    @rule(at=sides, which=ids)
    def delete(self, at: int, which: int) -> None:
        def work(side: Session, before: dict[int, Any]) -> list[int]:
            if rows := self.touchable(before):
                side.execute(text("DELETE FROM oban_jobs WHERE id = :id"), {"id": rows[which % len(rows)]})
            return []

        self.step(at, work)

    @rule(at=sides, looked=st.booleans())
    def commit(self, at: int, *, looked: bool = False) -> None:
        """What the commit brings about can be looked at by having it done right before."""

        def work(side: Session, _: Any) -> list[int]:
            side.execute(SETTLE_NOW)
            return []

        if looked:
            self.step(at, work)
        self.sides[at].commit()
        self.rows(self.observer)

    @rule()
    def commit_all(self) -> None:
        for side in self.sides:
            side.commit()
        if not self.strict:
            self.observer.execute(mend_chains(None), {"batch": 100})
        rows = self.rows(self.observer)
        in_turn = {row.chain_key for row in rows if occupies(row)}
        assert {row.chain_key for row in rows if waits(row)} <= in_turn, "invariant 2"

    @rule(at=sides)
    def roll_back(self, at: int) -> None:
        self.sides[at].rollback()
        self.rows(self.observer)

    @rule(at=sides)
    def kill(self, at: int) -> None:
        pid = self.sides[at].connection().scalar(text("SELECT pg_backend_pid()"))
        self.observer.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        with suppress(OperationalError):
            self.sides[at].invalidate()
        self.sides[at] = Session(self.engine)
        self.rows(self.observer)


def test_whatever_transactions_do_a_chain_is_one(impatient_engine: Engine) -> None:
    run_machine(partial(Chained, impatient_engine), examples=25)
