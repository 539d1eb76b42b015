"""The proof of uniqueness: random transactions on several connections against a model of what must come out.

INVARIANT 1: a job is inserted if and only if its transaction sees no job that holds its key; else it is told its id.
INVARIANT 2: nothing raises but `UniqueTimeout`, that if and only if another open transaction has locked the key, and
    then the transaction goes on as if nothing had been asked.
INVARIANT 3: at any moment no two rows that a transaction sees hold the same key.
INVARIANT 4: a row that would hold its key again while another has it, or might, goes on without it; no statement fails.
INVARIANT 5: the table holds exactly what the model says: nothing is lost by rollbacks, savepoints and kills.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session, SessionTransaction

from sqla_oban import Job, JobState, Unique, insert_all
from sqla_oban.errors import UniqueTimeout
from sqla_oban.unique import BITS
from tests.machine import run_machine

ROWS = text("SELECT id, unique_key, unique_states, CAST(state AS text) AS state FROM oban_jobs")
WAIT = 0.03
UNIQUES = [Unique(lock_timeout=WAIT), Unique(lock_timeout=WAIT, states={JobState.AVAILABLE, JobState.SCHEDULED})]
KEYS = [0, 1, 2]

keys, sides = st.sampled_from(KEYS), st.integers(0, 2)
states = st.sampled_from([JobState.AVAILABLE, JobState.SCHEDULED, JobState.RETRYABLE, JobState.COMPLETED])
uniques = st.sampled_from(UNIQUES)


@dataclass(frozen=True)
class Row:
    """A stored job."""

    key: str
    mask: int
    state: JobState

    @property
    def holds(self) -> bool:
        return bool(self.mask & BITS[self.state])


@dataclass
class Layer:
    """A transaction or a savepoint: what it has changed (None: deleted), and which keys it has locked."""

    savepoint: SessionTransaction | None = None
    changes: dict[int, Row | None] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)


@dataclass
class Side:
    """One of those who work on the table."""

    session: Session
    layers: list[Layer] = field(default_factory=lambda: [Layer()])

    @property
    def locked(self) -> set[str]:
        return {key for layer in self.layers for key in layer.locked}

    @property
    def touched(self) -> set[int]:
        return {id_ for layer in self.layers for id_ in layer.changes}


def made(number: int, unique: Unique, state: JobState = JobState.AVAILABLE) -> Job:
    return Job(worker="w", args={"n": number}, unique=unique, state=state)


class Transactions(RuleBasedStateMachine):
    """Three sessions that do anything in any order."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.observer = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self.committed: dict[int, Row] = {}
        self.sides = [Side(Session(engine)) for _ in range(3)]
        self.observer.execute(text("DELETE FROM oban_jobs"))

    def teardown(self) -> None:
        for side in self.sides:
            side.session.close()
        stored = self.stored(self.observer)
        self.observer.close()
        assert stored == self.committed, "invariant 5"

    def view(self, side: Side) -> dict[int, Row]:
        seen: dict[int, Row | None] = dict(self.committed)
        for layer in side.layers:
            seen |= layer.changes
        return {id_: row for id_, row in seen.items() if row is not None}

    def holder(self, side: Side, key: str) -> int | None:
        held = [id_ for id_, row in self.view(side).items() if row.key == key and row.holds]
        assert len(held) <= 1, "invariant 3, of the model itself"
        return held[0] if held else None

    def others(self, side: Side) -> list[Side]:
        return [one for one in self.sides if one is not side]

    def stored(self, connection: Any) -> dict[int, Row]:
        rows = connection.execute(ROWS).all()
        return {row.id: Row(row.unique_key, row.unique_states, JobState(row.state)) for row in rows}

    def check(self, side: Side) -> None:
        assert self.stored(side.session.connection()) == self.view(side)
        assert self.stored(self.observer) == self.committed

    def expected(self, side: Side, jobs: list[Job]) -> list[int | Job | None] | None:
        """What becomes of new jobs: None for one that is inserted, or who is in its place; None at all: a timeout."""
        free = {str(job.unique_key) for job in jobs if self.holder(side, str(job.unique_key)) is None}
        if any(free & other.locked for other in self.others(side)):
            return None
        side.layers[-1].locked |= free
        came: dict[str, Job] = {}
        found: list[int | Job | None] = []
        for job in jobs:
            key = str(job.unique_key)
            found.append(self.holder(side, key) or came.get(key))
            if found[-1] is None and (job.unique_states or 0) & BITS[job.state]:
                came[key] = job
        return found

    def settle(self, side: Side, jobs: list[Job], expected: list[int | Job | None]) -> None:
        for job, original in zip(jobs, expected, strict=True):
            assert job.conflict == (original is not None), "invariant 1"
            if original is None:
                side.layers[-1].changes[job.id] = Row(str(job.unique_key), job.unique_states or 0, job.state)
        for job, original in zip(jobs, expected, strict=True):
            if original is not None:
                assert job.id == (original.id if isinstance(original, Job) else original), "invariant 1"

    @rule(at=sides, wanted=st.lists(st.tuples(keys, uniques, states), min_size=1, max_size=4), way=st.integers(0, 2))
    def add(self, at: int, wanted: list[tuple[int, Unique, JobState]], way: int) -> None:
        side = self.sides[at]
        jobs = [made(*one) for one in wanted]
        expected = self.expected(side, jobs)
        try:
            if way == 0:
                side.session.add_all(jobs)
                side.session.flush()
            else:
                insert_all(side.session if way == 1 else side.session.connection(), jobs)
        except UniqueTimeout:
            assert expected is None, "invariant 2"
            side.session.expunge_all()
        else:
            assert expected is not None, "invariant 2"
            self.settle(side, jobs, expected)
        self.check(side)

    @rule(at=sides, number=keys, unique=uniques, state=states)
    def add_by_sql(self, at: int, number: int, unique: Unique, state: JobState) -> None:
        """By somebody who knows nothing of how it is done."""
        side, one = self.sides[at], made(number, unique, state)
        row = Row(str(one.unique_key), one.unique_states or 0, state)
        holder = self.holder(side, row.key)
        is_blocked = row.holds and any(
            row.key in other.locked or holder in other.touched for other in self.others(side)
        )
        try:
            with side.session.begin_nested():
                side.session.execute(text(f"SET LOCAL lock_timeout = {round(WAIT * 1_000)}"))
                id_ = side.session.execute(
                    text(
                        "INSERT INTO oban_jobs (worker, unique_key, unique_states, state) VALUES ('w', :key, :mask, "
                        "CAST(:state AS oban_job_state)) ON CONFLICT DO NOTHING RETURNING id"
                    ),
                    {"key": row.key, "mask": row.mask, "state": row.state.value},
                ).scalar()
                side.session.execute(text("SET LOCAL lock_timeout = 0"))
        except OperationalError:
            assert is_blocked
        else:
            assert not is_blocked
            if row.holds:
                side.layers[-1].locked.add(row.key)
            assert (id_ is None) == (row.holds and holder is not None)
            if id_ is not None:
                side.layers[-1].changes[id_] = row
        self.check(side)

    def free_rows(self, side: Side) -> list[int]:
        """Those that nobody else has locked."""
        touched = {id_ for other in self.others(side) for id_ in other.touched}
        return sorted(self.view(side).keys() - touched)

    def moved(self, side: Side, id_: int, state: JobState) -> Row:
        """What becomes of a row that is moved to another state: invariant 4."""
        row = self.view(side)[id_]
        after = Row(row.key, row.mask, state)
        if row.holds or not after.holds:
            return after
        if any(row.key in other.locked for other in self.others(side)):
            return Row(row.key, 0, state)
        side.layers[-1].locked.add(row.key)
        return Row(row.key, 0, state) if self.holder(side, row.key) is not None else after

    @rule(at=sides, which=st.integers(0, 1_000), state=states)
    def move(self, at: int, which: int, state: JobState) -> None:
        side = self.sides[at]
        if rows := self.free_rows(side):
            id_ = rows[which % len(rows)]
            after = self.moved(side, id_, state)
            side.session.execute(
                text("UPDATE oban_jobs SET state = CAST(:state AS oban_job_state) WHERE id = :id"),
                {"state": state.value, "id": id_},
            )
            side.layers[-1].changes[id_] = after
            self.check(side)

    @rule(at=sides, state=states)
    def move_all(self, at: int, state: JobState) -> None:
        """By one statement, as the stager does; in the order of the ids."""
        side = self.sides[at]
        rows = self.free_rows(side)
        side.session.execute(
            text(
                "WITH chosen AS MATERIALIZED (SELECT id FROM oban_jobs WHERE id = ANY(:ids) ORDER BY id FOR UPDATE) "
                "UPDATE oban_jobs SET state = CAST(:state AS oban_job_state) FROM chosen WHERE oban_jobs.id = chosen.id"
            ),
            {"state": state.value, "ids": rows},
        )
        before = self.view(side)
        after = self.stored(side.session.connection())
        for id_ in rows:  # which of several gets the key, PostgreSQL decides by the order in which it comes to them
            row = before[id_]
            assert after[id_] in {Row(row.key, row.mask, state), Row(row.key, 0, state)}
            if not row.holds and Row(row.key, row.mask, state).holds:
                if not any(row.key in other.locked for other in self.others(side)):
                    side.layers[-1].locked.add(row.key)
                else:
                    assert after[id_].mask == 0
            elif row.mask:
                assert after[id_].mask == row.mask
            side.layers[-1].changes[id_] = after[id_]
        for key in {row.key for row in after.values()}:
            self.holder(side, key)
        self.check(side)

    @rule(at=sides, which=st.integers(0, 1_000), state=states, number=keys, unique=uniques)
    def move_and_add_in_one_flush(self, at: int, which: int, state: JobState, number: int, unique: Unique) -> None:
        side, new = self.sides[at], made(number, unique)
        rows = self.free_rows(side)
        if not rows:
            return
        id_ = rows[which % len(rows)]
        loaded = side.session.get_one(Job, id_, populate_existing=True)
        key = str(new.unique_key)
        holder, row = self.holder(side, key), self.view(side)[id_]
        if holder is None and any(key in other.locked for other in self.others(side)):
            return
        if holder is None:
            side.layers[-1].locked.add(key)
        loaded.state = state
        will_hold = row.key == key and bool(row.mask & BITS[state])
        original = holder if holder != id_ or will_hold or row.state == state else None
        if original is None and will_hold:
            original = id_
        if row.state != state:  # else there is nothing to write, and the row is locked by nobody
            side.layers[-1].changes[id_] = self.moved(side, id_, state)
        side.session.add(new)
        if original is None and any(key in other.locked for other in self.others(side)):
            side.session.expunge(new)  # the index is asked behind the lock, which somebody else has
            side.session.flush()
        else:
            side.session.flush()
            assert (new.conflict, original is not None) in {(True, True), (False, False)}
            if original is None:
                side.layers[-1].locked.add(key)
                side.layers[-1].changes[new.id] = Row(key, new.unique_states or 0, new.state)
            else:
                assert new.id == original
        self.check(side)

    @rule(at=sides, which=st.integers(0, 1_000))
    def delete(self, at: int, which: int) -> None:
        side = self.sides[at]
        if rows := self.free_rows(side):
            id_ = rows[which % len(rows)]
            side.session.execute(text("DELETE FROM oban_jobs WHERE id = :id"), {"id": id_})
            side.layers[-1].changes[id_] = None
            self.check(side)

    @rule(at=sides)
    def begin_savepoint(self, at: int) -> None:
        side = self.sides[at]
        if len(side.layers) < 4:
            side.layers.append(Layer(side.session.begin_nested()))

    @rule(at=sides, keep=st.booleans())
    def end_savepoint(self, at: int, keep: bool) -> None:
        side = self.sides[at]
        if len(side.layers) > 1:
            layer = side.layers.pop()
            assert layer.savepoint is not None
            if keep:
                layer.savepoint.commit()
                side.layers[-1].changes |= layer.changes
                side.layers[-1].locked |= layer.locked
            else:
                layer.savepoint.rollback()
            self.check(side)

    @rule(at=sides)
    def commit(self, at: int) -> None:
        side = self.sides[at]
        while side.session.in_nested_transaction():
            side.session.get_nested_transaction().commit()  # type: ignore[union-attr]
        side.session.commit()
        self.committed = self.view(side)
        side.layers = [Layer()]
        self.check(side)

    @rule(at=sides)
    def roll_back(self, at: int) -> None:
        side = self.sides[at]
        while side.session.in_nested_transaction():
            side.session.rollback()
        side.session.rollback()
        side.layers = [Layer()]
        self.check(side)

    @precondition(lambda self: any(len(side.layers) > 1 or side.touched for side in self.sides))
    @rule(at=sides)
    def kill(self, at: int) -> None:
        side = self.sides[at]
        pid = side.session.connection().scalar(text("SELECT pg_backend_pid()"))
        self.observer.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        with suppress(OperationalError):  # a savepoint is rolled back first, which fails
            side.session.invalidate()
        self.sides[at] = Side(Session(self.engine))
        self.check(self.sides[at])


@pytest.fixture
def sync_engine(engine: AsyncEngine, database_url: URL) -> Iterator[Engine]:
    sync = create_engine(database_url.set(drivername="postgresql+psycopg"))
    yield sync
    sync.dispose()


def test_the_keys_of_the_model_share_no_lock(sync_engine: Engine) -> None:
    slots = text("SELECT count(DISTINCT hashtextextended(key, 0) & 4095) FROM unnest(CAST(:keys AS text[])) key")
    with sync_engine.connect() as connection:
        used = [made(number, UNIQUES[0]).unique_key for number in KEYS]
        assert connection.scalar(slots, {"keys": used}) == len(KEYS)


def test_whatever_transactions_do_the_model_holds(sync_engine: Engine) -> None:
    run_machine(partial(Transactions, sync_engine), examples=25)
