"""Signals by the statements themselves: several connections, and nodes that die between any two steps."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sqla_oban import Job
from sqla_oban.outcomes import Snooze
from sqla_oban.queries.ack import ACK, Ack, parameters
from sqla_oban.queries.claim import CLAIM, START, Claimed, behind
from sqla_oban.queries.rescue import rescue
from sqla_oban.queries.signal import give
from sqla_oban.queries.stage import stage
from sqla_oban.states import JobState
from sqla_oban.workers.parking import Claim, Parked, received
from tests.queries.table import Table
from tests.support import enqueue

NAMES = ("a", "b")
STEPS = st.lists(
    st.one_of(
        st.just(("claim",)),
        st.tuples(st.just("ask"), st.sampled_from(NAMES)),
        st.tuples(st.just("write"), st.sampled_from(("once", "twice", "never"))),
        st.just(("fail",)),
        st.just(("snooze",)),
        st.just(("die",)),
        st.tuples(st.just("send"), st.sampled_from(NAMES), st.integers(0, 1)),
        st.tuples(st.just("commit"), st.integers(0, 1)),
        st.tuples(st.just("roll back"), st.integers(0, 1)),
        st.just(("stage",)),
    ),
    max_size=30,
)


class Story:
    """One job, the node that runs it, and two senders in transactions of their own.

    Attributes:
        kept: by name the payload that a committed transaction has given; the model.
        got: what the worker was given, over all its executions.
    """

    def __init__(self, job_id: int, node: Table, senders: list[AsyncConnection]) -> None:
        self.job_id = job_id
        self.node = node
        self.senders = senders
        self.sent: list[dict[str, int]] = [{}, {}]
        self.kept: dict[str, int] = {}
        self.got: dict[str, set[int]] = {name: set() for name in NAMES}
        self.claimed: Claimed | None = None
        self.ack: Ack | None = None
        self.count = 0
        self.holding: int | None = None

    async def take(self, step: tuple[Any, ...]) -> None:
        await getattr(self, "do_" + step[0].replace(" ", "_"))(*step[1:])

    async def do_claim(self) -> None:
        asked = {"of_queue": "default", "demand": 1, "holder": ["node", "gone"], **behind(START)}
        rows = [Claimed._make(row) for row in await self.node.run(CLAIM, **asked)]
        self.claimed = rows[0] if rows and rows[0].state == "executing" else self.claimed

    async def do_ask(self, name: str) -> None:
        if self.claimed is None or self.ack is not None:
            return
        try:
            self.got[name].add(received(name, None, Claim(self.claimed.meta, self.claimed.attempted_at), 0.0))
        except Parked as parked:
            self.ack = self.snoozed(parked.outcome)

    def snoozed(self, outcome: Snooze) -> Ack:
        assert self.claimed is not None
        meta = None if outcome.meta is None else json.dumps(dict(outcome.meta))
        at = self.claimed.attempted_at
        return Ack(self.job_id, at, JobState.SCHEDULED, delay=outcome.delay, refund=True, meta=meta)

    async def do_write(self, how: str) -> None:
        """The acknowledgement; its answer may be lost, so that it is sent again, or the node dies before it."""
        if self.ack is None:
            return
        for _ in range({"once": 1, "twice": 2, "never": 0}[how]):
            await self.node.run(ACK, **parameters([self.ack]))
        if how == "never" or (await self.node.job(self.job_id)).state != "executing":
            self.ack = self.claimed = None
            await self.rescued()

    async def do_fail(self) -> None:
        if self.claimed is not None and self.ack is None:
            self.ack = Ack(self.job_id, self.claimed.attempted_at, JobState.RETRYABLE, delay=0, error="x")

    async def do_snooze(self) -> None:
        if self.claimed is not None and self.ack is None:
            self.ack = self.snoozed(Snooze(0))

    async def do_die(self) -> None:
        self.ack = self.claimed = None
        await self.rescued()

    async def rescued(self) -> None:
        await self.node.run(rescue(None), batch=10, grace=0.0, rescue_after=0.0, aside=[])

    async def do_send(self, name: str, sender: int) -> None:
        """Waits for no other sender: a test of two in one thread would wait for itself."""
        if self.holding not in (None, sender):
            return
        self.holding = sender
        self.count += 1
        statement = give(select(Job.id).where(Job.id == self.job_id), None, name=name, payload=str(self.count))
        taken = (await self.senders[sender].execute(statement)).all()
        assert bool(taken) == (name not in self.kept and name not in self.sent[sender])
        if taken:
            self.sent[sender][name] = self.count

    async def do_commit(self, sender: int) -> None:
        await self.senders[sender].commit()
        self.holding = None if self.holding == sender else self.holding
        self.kept.update(self.sent[sender])
        self.sent[sender].clear()

    async def do_roll_back(self, sender: int) -> None:
        await self.senders[sender].rollback()
        self.holding = None if self.holding == sender else self.holding
        self.sent[sender].clear()

    async def do_stage(self) -> None:
        await self.node.run(stage(None), limit=100, aside=[], asleep=[], producers=[], horizon=60.0)

    async def check(self) -> None:
        """What is kept is exactly what was committed, nobody got anything else, and nobody sleeps beside his signal."""
        row = await self.node.job(self.job_id)
        assert row.meta.get("signals", {}) == self.kept
        for name, payloads in self.got.items():
            assert payloads <= {self.kept.get(name)}
        if row.state == "scheduled" and row.scheduled_at.year > 2100:
            assert row.meta["signal_wait"]["name"] not in self.kept

    async def finish(self) -> None:
        """Whatever has happened, a signal that is sent now is got."""
        for sender in (0, 1):
            await self.do_commit(sender)
        for name in NAMES:
            await self.do_send(name, 0)
            await self.do_commit(0)
        for step in [("write", "once"), ("die",), ("stage",), ("claim",), ("ask", "a"), ("ask", "b")]:
            await self.take(step)
        assert self.got == {name: {payload} for name, payload in self.kept.items()}
        assert set(self.kept) == set(NAMES)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_no_signal_is_lost_or_given_twice_as_another(steps: list[tuple[Any, ...]], engine: AsyncEngine) -> None:
    async with engine.connect() as node, engine.connect() as first, engine.connect() as second:
        table = Table(await node.execution_options(isolation_level="AUTOCOMMIT"))
        await table.connection.execute(text("TRUNCATE oban_jobs"))
        [job_id] = await enqueue(engine, Job(worker="w", max_attempts=1_000))
        story = Story(job_id, table, [first, second])
        for step in steps:
            await story.take(step)
            await story.check()
        await story.finish()


async def test_new_meta_keeps_the_signals(table: Table) -> None:
    from sqla_oban.queries.update import update

    job_id = await table.add(meta="""'{"signals": {"a": null}, "signal_wait": {"name": "b"}, "old": 1}'""")
    await table.run(update({"meta": {"new": 1}}, None), ids=[job_id])
    assert (await table.job(job_id)).meta == {"new": 1, "signals": {"a": None}, "signal_wait": {"name": "b"}}
