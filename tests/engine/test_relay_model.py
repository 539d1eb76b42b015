"""Waiting for the end of a job: several who wait, on two nodes, and transactions of others that come to nothing."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from sqla_oban import Job, SqlaOban
from sqla_oban.errors import JobDeleted, JobNotCompleted, JobNotFound
from sqla_oban.outcomes import RESULT
from sqla_oban.settings import StagerSettings
from tests.emptying import emptied
from tests.support import PATIENCE, eventually

SELDOM = StagerSettings(interval=10_000.0, deaf_interval=10_000.0)
"""Nobody looks unless he is told, or hears anew."""
GONE = ("gone", None)
MOST = 5
"""Who waits while the row is locked has a connection of the pool."""
NODES, WRITERS = st.integers(0, 1), st.integers(0, 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), NODES),
        st.tuples(st.just("wait"), NODES),
        st.tuples(st.just("leave"), st.integers(0, MOST)),
        st.tuples(st.just("end"), WRITERS, st.sampled_from(("completed", "cancelled", "discarded"))),
        st.tuples(st.just("end"), WRITERS, st.sampled_from(("completed", "cancelled", "discarded"))),
        st.tuples(st.just("retry"), WRITERS),
        st.tuples(st.just("delete"), WRITERS),
        st.tuples(st.just("commit"), WRITERS, st.booleans()),
        st.tuples(st.just("commit"), WRITERS, st.booleans()),
        st.tuples(st.just("roll_back"), WRITERS),
        st.tuples(st.just("die"), WRITERS),
        st.tuples(st.just("deafen")),
        st.tuples(st.just("hear"), NODES),
    ),
    max_size=20,
)


@dataclass(eq=False)
class Guest:
    """One who waits, and the ends that he may be told: those that were committed since he came."""

    task: asyncio.Task[Any]
    ends: list[tuple[str, int | None]] = field(default_factory=list)

    def check(self) -> None:
        assert answer(self.task) in self.ends


def answer(task: asyncio.Task[Any]) -> tuple[str, int | None]:
    match task.exception():
        case None:
            return "completed", task.result()
        case JobNotFound() | JobDeleted():
            return GONE
        case JobNotCompleted() as error:
            return str(error).split()[3].rstrip(":"), int(str(error.error))
        case error:
            raise error


class Story:
    """One job, those who wait for it, and two transactions that change it, one at a time.

    Attributes:
        end: how the job ended, as far as it is committed; None while it has not. The model.
        changes: what the open transaction of each writer has made of that.
    """

    def __init__(self, engine: AsyncEngine, nodes: list[SqlaOban]) -> None:
        self.engine = engine
        self.nodes = nodes
        self.job = Job(worker="nobody")
        self.guests: list[Guest] = []
        self.writers: dict[int, AsyncConnection] = {}
        self.changes: dict[int, tuple[str, int | None] | None] = {}
        self.end: tuple[str, int | None] | None = None
        self.count = 0

    async def begin(self, *, waiting: bool) -> None:
        if waiting:
            self._comes(self.nodes[0].relay(self.job, timeout=None))
            await eventually(self._is_marked, "the job that is relayed")
            return
        async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
            session.add(self.job)

    async def take(self, step: tuple[Any, ...]) -> None:
        await getattr(self, "do_" + step[0])(*step[1:])
        for guest in [one for one in self.guests if one.task.done()]:
            guest.check()
            self.guests.remove(guest)

    async def do_wait(self, node: int) -> None:
        if len(self.guests) < MOST:
            self._comes(self.nodes[node].wait(self.job.id, timeout=None))
            await asyncio.sleep(0)

    async def do_leave(self, which: int) -> None:
        """Whoever gives up takes nothing from the others."""
        if which < len(self.guests):
            guest = self.guests.pop(which)
            guest.task.cancel()
            await asyncio.wait([guest.task])

    async def do_end(self, writer: int, state: str) -> None:
        self.count += 1
        await self._change(
            *(writer, (state, self.count)),
            f"state = '{state}', meta = jsonb_build_object('{RESULT}', {self.count}), "
            f"""errors = '[{{"error": "{self.count}"}}]'""",
        )

    async def do_retry(self, writer: int) -> None:
        await self._change(writer, None, "state = 'available'")

    async def do_delete(self, writer: int) -> None:
        if await self._may_change(writer):
            await self._run(writer, "DELETE FROM oban_jobs WHERE id = :id")
            self.changes[writer] = GONE

    async def do_commit(self, writer: int, patient: bool) -> None:
        if writer in self.changes:
            await self.writers[writer].commit()
            self.end = self.changes.pop(writer)
            if self.end is not None:
                for guest in self.guests:
                    guest.ends.append(self.end)
        if patient and self.end is not None and not self.changes:
            await self.answered()

    async def do_roll_back(self, writer: int) -> None:
        if writer in self.changes:
            await self.writers[writer].rollback()
            del self.changes[writer]

    async def do_die(self, writer: int) -> None:
        """Its connection is lost before it can commit."""
        if writer not in self.changes:
            return
        pid = await self.writers[writer].scalar(text("SELECT pg_backend_pid()"))
        async with self.engine.connect() as other:
            await other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        with pytest.raises(DBAPIError):
            await self.writers[writer].execute(text("SELECT 1"))
        await self.writers.pop(writer).close()
        del self.changes[writer]

    async def do_deafen(self) -> None:
        """Those who listen lose their connections, and what is said before they have others."""
        async with self.engine.connect() as other:
            await other.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'sqla_oban relay' AND datname = current_database()"
                )
            )

    async def do_hear(self, node: int) -> None:
        """Whoever is told of the end of a later job has looked at whatever was said before."""
        later = Job(worker="nobody")
        told = asyncio.create_task(self.nodes[node].relay(later, timeout=PATIENCE))
        statement = text("UPDATE oban_jobs SET state = 'completed' WHERE id = :id AND awaited_until IS NOT NULL")

        async def has_ended() -> bool:
            if "id" not in later.__dict__:
                return False
            async with self.engine.begin() as other:
                return bool((await other.execute(statement, {"id": later.id})).rowcount)

        await eventually(has_ended, "a later job that is waited for")
        await told

    async def finish(self) -> None:
        """Whatever has happened, an end is told to all who are there."""
        for writer in (0, 1):
            await self.take(("roll_back", writer))
        if self.end is None:
            await self.take(("end", 0, "completed"))
        await self.take(("commit", 0, True))
        assert self.guests == []
        for connection in self.writers.values():
            await connection.close()

    async def answered(self) -> None:
        if tasks := [one.task for one in self.guests]:
            _, waiting = await asyncio.wait(tasks, timeout=PATIENCE)
            assert not waiting, f"{len(waiting)} wait for a job that is {self.end}"

    def _comes(self, waiting: Any) -> None:
        ends = [] if self.end is None else [self.end]
        self.guests.append(Guest(asyncio.ensure_future(waiting), ends))

    async def _is_marked(self) -> bool:
        async with self.engine.connect() as other:
            marked = text("SELECT count(*) FROM oban_jobs WHERE awaited_until IS NOT NULL")
            return bool(await other.scalar(marked))

    async def _change(self, writer: int, end: tuple[str, int | None] | None, values: str) -> None:
        if await self._may_change(writer):
            await self._run(writer, f"UPDATE oban_jobs SET {values} WHERE id = :id")
            self.changes[writer] = end

    async def _may_change(self, writer: int) -> bool:
        """A test in one thread that locked a row twice would wait for itself."""
        is_there = GONE not in (self.end, self.changes.get(writer))
        return is_there and not self.changes.keys() - {writer}

    async def _run(self, writer: int, statement: str) -> None:
        if writer not in self.writers:
            self.writers[writer] = await self.engine.connect()
        await self.writers[writer].execute(text(statement.replace(': "', '\\: "')), {"id": self.job.id})


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, relayed=st.booleans())
@example(steps=[("end", 0, "completed"), ("retry", 0), ("commit", 0, False), ("hear", 0)], relayed=True)
async def test_all_are_told_an_end_that_was_and_nobody_waits_on_after_one(
    steps: list[tuple[Any, ...]], relayed: bool, engine: AsyncEngine
) -> None:
    async with SqlaOban(engine, stager=SELDOM) as one, SqlaOban(engine, stager=SELDOM) as other:
        async with engine.begin() as connection:
            await connection.execute(emptied())
        story = Story(engine, [one, other])
        await story.begin(waiting=relayed)
        for step in steps:
            await story.take(step)
        await story.finish()
