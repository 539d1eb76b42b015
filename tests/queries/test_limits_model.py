"""No limit is ever exceeded, whatever claimers, writers and operators do at once, and however they die.

Several sessions claim, end, hand back, insert and scale at the same time, and some are killed in the middle of it. A
trigger of the test, which knows nothing of limits, writes down every start and every end; nothing of an aborted
transaction is in it. A second observer counts what executes, again and again, in a session of its own.
"""

import asyncio
import contextlib
import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from sqla_oban import QueueConfig, RateLimit
from sqla_oban.engine.directly import compiled
from sqla_oban.engine.limits import Limits
from sqla_oban.queries.claim import START, behind
from sqla_oban.queries.limits import claim_within

CLAIM = compiled(claim_within(None), dialect.dialect(), None)  # type: ignore[no-untyped-call]
TABLES = """
    TRUNCATE oban_jobs, oban_queues, oban_rates;
    CREATE TABLE observed (
      at timestamp DEFAULT timezone('UTC', clock_timestamp()), job bigint, part text, weight int, change int);
    CREATE FUNCTION observe() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO observed (job, part, weight, change)
        VALUES (NEW.id, NEW.args ->> 'account', coalesce(NEW.weight, 1),
                CASE WHEN NEW.state = 'executing' THEN 1 ELSE -1 END);
      RETURN NEW;
    END $$;
    CREATE TRIGGER observe BEFORE UPDATE OF state ON oban_jobs FOR EACH ROW
      WHEN ((OLD.state = 'executing') <> (NEW.state = 'executing')) EXECUTE FUNCTION observe();
"""
DROP = "DROP TABLE observed CASCADE; DROP FUNCTION observe CASCADE"
COUNT = "SELECT args ->> 'account' AS part, count(*) AS n FROM oban_jobs WHERE state = 'executing' GROUP BY 1"
INSERT = """
    INSERT INTO oban_jobs (worker, args, weight)
      SELECT 'w', jsonb_build_object('account', 'a' || floor(random() * 3)), nullif(floor(random() * 3)::int, 0)
        FROM generate_series(1, $1)
"""
MOVE = "UPDATE oban_jobs SET state = $1::oban_job_state WHERE id = ANY($2) AND state = 'executing'"
SCALE = """
    INSERT INTO oban_queues (name, queue, global_limit) VALUES ('Oban', 'default', $1)
      ON CONFLICT (name, queue, node) DO UPDATE SET global_limit = excluded.global_limit
"""


@dataclass(frozen=True)
class Plan:
    """What is to be kept, and by whom it is put to the test."""

    most: int | None
    rate: RateLimit | None
    divided: bool
    actors: list[list[tuple[str, int]]]

    @property
    def limits(self) -> Limits:
        partition = ("args", "account") if self.divided else None
        return Limits.of(QueueConfig(global_limit=self.most, rate_limit=self.rate, partition=partition))


VERBS = ["claim", "claim", "claim", "end", "hand back", "insert", "scale", "turn over", "die claiming", "die holding"]
STEPS = st.lists(st.tuples(st.sampled_from(VERBS), st.integers(1, 6)), min_size=5, max_size=12)
RATES = st.builds(
    RateLimit, st.integers(3, 6), st.sampled_from([0.05, 0.2]), st.sampled_from(["sliding", "fixed", "bucket"])
)
PLANS = st.builds(
    Plan,
    most=st.one_of(st.none(), st.integers(1, 4)),
    rate=st.one_of(st.none(), RATES),
    divided=st.booleans(),
    actors=st.lists(STEPS, min_size=3, max_size=4),
).filter(lambda plan: plan.most is not None or plan.rate is not None)


class Actor:
    """A node, an operator and a writer in one, in a session that may be killed."""

    def __init__(self, dsn: str, plan: Plan) -> None:
        self.dsn, self.plan = dsn, plan
        self.held: list[int] = []
        self.since: dict[int, datetime] = {}
        self.lane = ""

    async def play(self, steps: list[tuple[str, int]]) -> None:
        self.session = await asyncpg.connect(self.dsn)
        try:
            for verb, number in steps:
                await self.do(verb, number)
        finally:
            await self.session.close()

    async def do(self, verb: str, number: int) -> None:
        match verb:
            case "claim":
                self.held += await self.claim(number)
            case "turn over":
                gone, self.held = self.held[:number], self.held[number:]
                self.held += await self.claim(number, gone)
            case "end" | "hand back":
                gone, self.held = self.held[:number], self.held[number:]
                await self.session.execute(MOVE, "completed" if verb == "end" else "available", gone)
            case "insert":
                await self.session.execute(INSERT, number)
            case "scale" if self.plan.most is not None:
                await self.session.execute(SCALE, random.randint(1, self.plan.most))
            case "die claiming":
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                    async with self.session.transaction():
                        await self.claim(number)
                        await self.session.execute("SELECT pg_terminate_backend(pg_backend_pid())")
                self.session = await asyncpg.connect(self.dsn)
            case "die holding":  # and be rescued by somebody else
                await self.session.close()
                self.session = await asyncpg.connect(self.dsn)
                lost, self.held = self.held, []
                await self.session.execute(MOVE, "available", lost)

    async def claim(self, demand: int, ended: Sequence[int] = ()) -> list[int]:
        where = {"lane_from": self.lane, "lane_origin": self.lane, "has_wrapped": False, "of_runners": "Oban"}
        asked = {"of_queue": "default", "demand": demand, "holder": ["node", "me"], **behind(START)}
        outcomes = {"ids": ended, "attempted_ats": [self.since[job] for job in ended]}
        given = {**asked, **where, **self.plan.limits.parameters(), **outcomes}
        rows = await self.session.fetch(CLAIM.sql, *[given[name] for name in CLAIM.names])
        self.lane = rows[-1]["lane"]
        assert len(rows) - 1 <= demand
        assert sorted(rows[-1]["written"] or []) == sorted(ended)
        self.since |= {row["id"]: row["attempted_at"] for row in rows[:-1]}
        return [row["id"] for row in rows[:-1]]


async def put_to_the_test(plan: Plan, dsn: str) -> None:
    observer = await asyncpg.connect(dsn)
    await observer.execute(TABLES)
    try:
        await observer.execute(INSERT, 30)
        playing = [asyncio.create_task(Actor(dsn, plan).play(steps)) for steps in plan.actors]
        while not all(task.done() for task in playing):
            check_count(plan, await observer.fetch(COUNT))
            await asyncio.sleep(0)
        await asyncio.gather(*playing)
        events = [dict(row) for row in await observer.fetch("SELECT * FROM observed ORDER BY at")]
    finally:
        await observer.execute(DROP)
        await observer.close()
    for part in parts(plan, events).values():
        check_together(plan, part)
        check_rate(plan, [event for event in part if event["change"] > 0])


def parts(plan: Plan, events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        found[event["part"] if plan.divided else ""].append(event)
    return found


def check_count(plan: Plan, counted: list[Any]) -> None:
    if plan.most is not None:
        numbers = [row["n"] for row in counted]
        assert max(numbers if plan.divided else [sum(numbers)], default=0) <= plan.most


def check_together(plan: Plan, events: list[dict[str, Any]]) -> None:
    """How many executed after each start; an end is written before it is visible, so this is at most too few."""
    running = itertools.accumulate(event["change"] for event in events)
    assert plan.most is None or max(running, default=0) <= plan.most


def check_rate(plan: Plan, starts: list[dict[str, Any]]) -> None:
    """Any span, by the definition of the algorithm and not by its account."""
    if plan.rate is None:
        return
    allowed, period = plan.rate.allowed, plan.rate.seconds
    at = [epoch(start) / 1_000_000 for start in starts]
    units = [start["weight"] for start in starts]
    for i, first in enumerate(at):
        used = 0
        for j in range(i, len(at)):
            used += units[j]
            span = at[j] - first
            if plan.rate.algorithm == "sliding":
                assert span >= period - 1e-6 or used <= allowed
            elif plan.rate.algorithm == "bucket":
                assert used <= allowed + span * allowed / period + 1e-3
    if plan.rate.algorithm == "fixed":
        windows: dict[int, int] = defaultdict(int)
        for start, one in zip(starts, units, strict=True):
            windows[epoch(start) // round(period * 1_000_000)] += one
        assert max(windows.values(), default=0) <= allowed


def epoch(start: dict[str, Any]) -> int:
    """Microseconds since 1970."""
    return int((start["at"] - datetime(1970, 1, 1)) / timedelta(microseconds=1))  # noqa: DTZ001 (as the column has it)


@pytest.fixture
def dsn(database_url: URL) -> str:
    return database_url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_no_limit_is_ever_exceeded(dsn: str) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(PLANS)
    def whatever_happens(plan: Plan) -> None:
        asyncio.run(put_to_the_test(plan, dsn))

    whatever_happens()
