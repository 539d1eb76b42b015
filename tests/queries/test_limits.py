"""What is claimed within limits, statement by statement; `test_limits_model.py` puts it to the test by many at once."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban import JobState, QueueConfig, RateLimit
from sqla_oban.engine.limits import Limits
from sqla_oban.queries.ack import Ack, executions
from sqla_oban.queries.claim import START, Claimed, behind
from sqla_oban.queries.limits import claim_within, consume, sort
from tests.queries.table import PAST, Table, ago
from tests.support import eventually

WITHIN, SORT, CONSUME = claim_within(None), sort(None), consume(None)
BY_ACCOUNT = ("args", "account")


class Limited:
    """A producer of the queue `default`, as far as its claims are concerned."""

    def __init__(self, table: Table, **options: Any) -> None:
        self.table = table
        self.limits = Limits.of(QueueConfig(**options))
        self.lane = ""
        self.more = False
        self.waits: float | None = None
        self.written: list[int] | None = None

    async def claim(self, demand: int = 10, ended: Sequence[Ack] = ()) -> list[Claimed]:
        where = {"lane_from": self.lane, "lane_origin": self.lane, "has_wrapped": False, "of_runners": "Oban"}
        asked = {"of_queue": "default", "demand": demand, "holder": ["node", "me"], **behind(START)}
        found = await self.table.run(WITHIN, **asked, **where, **self.limits.parameters(), **executions(ended))
        rows, verdict = found[:-1], tuple(found[-1])
        assert verdict[0] is None
        self.lane, _, self.more, self.waits, self.written = verdict[13:]
        return sorted(Claimed._make(row[:13]) for row in rows)

    def wait(self) -> float:
        """Seconds until a rate has room again; 0 if none was used up."""
        return self.waits or 0

    async def ids(self, demand: int = 10) -> list[int]:
        return [job.id for job in await self.claim(demand)]

    async def accounts(self, demand: int = 10) -> Counter[Any]:
        return Counter(json.loads(job.args).get("account") for job in await self.claim(demand))


def of(account: object) -> str:
    return f"'{json.dumps({'account': account})}'::jsonb"


async def write(table: Table, sql: str) -> None:
    await table.connection.exec_driver_sql(sql)


async def end(table: Table, *ids: int) -> None:
    await write(table, f"UPDATE oban_jobs SET state = 'completed', completed_at = now() WHERE id = ANY(ARRAY{[*ids]})")


# How many run together


async def test_no_more_are_claimed_than_are_left_of_the_global_limit(table: Table) -> None:
    ids = [await table.add() for _ in range(6)]
    queue = Limited(table, global_limit=3)
    assert await queue.ids(2) == ids[:2]
    assert await queue.ids(10) == ids[2:3]
    assert await queue.ids(10) == []
    await end(table, ids[0])
    assert await queue.ids(10) == ids[3:4]


async def test_what_executes_counts_whoever_claimed_it(table: Table) -> None:
    await table.add_executing()
    await table.add_executing(queue="'other'")
    ids = [await table.add() for _ in range(3)]
    assert await Limited(table, global_limit=2).ids() == ids[:1]


async def test_a_claim_within_limits_gives_the_same_as_the_plain_one(table: Table) -> None:
    for priority in (3, 0, 1):
        await table.add(priority=str(priority), args="'{\"n\": 1}'", tags="ARRAY['a']", meta="'[1]'")
    await table.add(attempt="20", max_attempts="20")
    await table.add(scheduled_at="'20000-01-01'")
    await table.connection.execute(text("BEGIN"))
    plain = await table.claim()
    await table.connection.execute(text("ROLLBACK"))
    within = await Limited(table, global_limit=9).claim()
    same = plain[0].attempted_at
    assert [one._replace(attempted_at=same) for one in within] == [one._replace(attempted_at=same) for one in plain]
    assert len(within) == 5


async def test_jobs_are_claimed_in_their_order_behind_the_front(table: Table) -> None:
    low, high, middle = [await table.add(priority=priority, scheduled_at=PAST) for priority in ("9", "0", "5")]
    queue = Limited(table, global_limit=9)
    assert [await queue.ids(1) for _ in range(3)] == [[high], [middle], [low]]


async def test_an_exhausted_job_takes_no_slot_for_long(table: Table) -> None:
    exhausted = await table.add(attempt="3", max_attempts="3", priority="0")
    good = await table.add(priority="1")
    queue = Limited(table, global_limit=1)
    assert [job.state for job in await queue.claim()] == ["discarded"]
    assert await queue.ids() == [good]
    assert (await table.states())[exhausted] == "discarded"


# What operators said


async def test_what_was_said_at_run_time_counts_from_the_next_claim_on(table: Table) -> None:
    [await table.add() for _ in range(9)]
    queue = Limited(table, global_limit=1)
    assert len(await queue.ids()) == 1
    await write(table, "INSERT INTO oban_queues (name, queue, global_limit) VALUES ('Oban', 'default', 3)")
    assert len(await queue.ids()) == 2
    await write(table, "UPDATE oban_queues SET global_limit = 0")
    assert len(await queue.ids()) == 6


@pytest.mark.parametrize("junk", ['{"allowed": "x"}', '{"allowed": 0, "period": 0}', "[1]", "7", "false"])
async def test_a_rate_that_is_none_stops_nothing(junk: str, table: Table) -> None:
    await table.add()
    await write(table, f"INSERT INTO oban_queues (name, queue, rate_limit) VALUES ('Oban', 'default', '{junk}')")
    assert len(await Limited(table, rate_limit=RateLimit(1, 60)).ids()) == 1


# Partitions


async def test_each_partition_has_the_limit_for_itself_and_they_take_turns(table: Table) -> None:
    for account in (1, 2, 3):
        for _ in range(5):
            await table.add(args=of(account))
    queue = Limited(table, global_limit=2, partition=BY_ACCOUNT)
    assert await queue.accounts(3) == {1: 2, 2: 1}
    assert await queue.accounts(10) == {2: 1, 3: 2}
    assert await queue.accounts(10) == {}


async def test_a_partition_that_is_served_again_and_again_starves_no_other(table: Table) -> None:
    for account in ("busy", "quiet"):
        for _ in range(20 if account == "busy" else 1):
            await table.add(args=of(account), scheduled_at=ago(100) if account == "busy" else ago(1))
    queue = Limited(table, global_limit=5, partition=BY_ACCOUNT)
    assert await queue.accounts(1) + await queue.accounts(1) == {"busy": 1, "quiet": 1}


@pytest.mark.parametrize(
    ("partition", "same", "other"),
    [
        ("worker", {"worker": "'a'"}, {"worker": "'b'"}),
        (("args", "k"), {"args": "'{\"k\": [1, 2]}'"}, {"args": "'{\"k\": 1}'"}),
        (("args", "k"), {"args": "'{\"k\": null}'"}, {"args": "'{\"j\": null}'"}),
        (("args", "k"), {"args": "'[]'"}, {"args": "'{\"k\": 1}'"}),
        (("meta", "k"), {"meta": "'{\"k\": 1}'"}, {"meta": "'7'"}),
        (("args", "k"), {"args": "jsonb_build_object('k', repeat('x', 9000))"}, {"args": '\'{"k": "x"}\''}),
    ],
    ids=str,
)
async def test_jobs_without_the_key_are_a_partition_of_their_own(
    partition: Any, same: dict[str, str], other: dict[str, str], table: Table
) -> None:
    first, second, third = await table.add(**same), await table.add(**same), await table.add(**other)
    queue = Limited(table, global_limit=1, partition=partition)
    assert await queue.ids() == [first, third]
    await end(table, first, third)
    assert await queue.ids() == [second]


async def test_room_that_no_partition_may_use_within_its_limit_is_filled_in_a_burst(table: Table) -> None:
    for account in (1, 2):
        for _ in range(20):
            await table.add(args=of(account))
    strict = Limited(table, global_limit=2, partition=BY_ACCOUNT)
    assert await strict.accounts(5) == {1: 2, 2: 2}
    burst = Limited(table, global_limit=2, partition=BY_ACCOUNT, burst=True)
    assert sorted((await burst.accounts(5)).values()) == [2, 3]


async def test_what_one_partition_does_not_need_of_a_burst_is_the_others(table: Table) -> None:
    for account, count in ((1, 1), (2, 9), (3, 2)):
        for _ in range(count):
            await table.add(args=of(account))
    queue = Limited(table, global_limit=1, partition=BY_ACCOUNT, burst=True)
    assert await queue.accounts(11) == {1: 1, 2: 8, 3: 2}


async def test_a_job_whose_fields_change_is_sorted_anew(table: Table) -> None:
    first, second = await table.add(args=of(1)), await table.add(args=of(1))
    queue = Limited(table, global_limit=1, partition=BY_ACCOUNT)
    assert await queue.ids() == [first]
    await write(table, f"UPDATE oban_jobs SET args = {of(2)} WHERE id = {second}")
    assert await queue.ids() == [second]


async def test_with_another_partition_what_waits_is_sorted_anew(table: Table) -> None:
    first, second = await table.add(args=of(1)), await table.add(args=of(1), worker="'other'")
    assert await Limited(table, global_limit=1, partition=BY_ACCOUNT).ids() == [first]
    assert await Limited(table, global_limit=1, partition=BY_ACCOUNT).ids() == []
    assert await Limited(table, global_limit=1, partition="worker").ids() == [second]


async def test_what_was_sorted_is_found_where_there_are_no_partitions_any_more(table: Table) -> None:
    first, second, third = [await table.add(args=of(1)) for _ in range(3)]
    assert await Limited(table, global_limit=1, partition=BY_ACCOUNT).ids() == [first]
    assert await Limited(table, global_limit=2).ids() == [second]
    await write(table, f"UPDATE oban_jobs SET state = 'available' WHERE id IN ({first}, {second})")
    assert [job.id for job in await table.claim()] == [second, third]
    assert (await table.run(SORT, of_queue="default", spec=None, most=10))[0][0] == 1
    assert [job.id for job in await table.claim()] == [first]


# How many start within a time


@pytest.mark.parametrize("algorithm", ["sliding", "fixed", "bucket"])
async def test_no_more_start_than_the_rate_allows_and_it_is_known_when_the_next_may(
    algorithm: str, table: Table
) -> None:
    ids = [await table.add() for _ in range(5)]
    period = 3_000_000_000  # it ends in 2065, also where periods are counted from 1970
    queue = Limited(table, rate_limit=RateLimit(3, period, algorithm))
    assert await queue.ids(2) == ids[:2]
    assert queue.wait() == 0
    assert await queue.ids() == ids[2:3]
    assert 0 < queue.wait() <= period
    await end(table, *ids[:3])
    assert await queue.ids() == []


@pytest.mark.parametrize(
    ("algorithm", "period", "free"), [("sliding", 100, 0), ("fixed", 100, 3), ("bucket", 100, 1), ("sliding", 50, 3)]
)
async def test_what_was_used_comes_back_by_the_algorithm(algorithm: str, period: int, free: int, table: Table) -> None:
    ids = [await table.add() for _ in range(5)]
    # Three were started 34 to 60 seconds ago, just before the fixed period that we are in began.
    aligned = f"floor(extract(epoch FROM {ago(34)}) / 100) * 100"
    moment = f"timezone('UTC', to_timestamp({aligned})) - interval '1 s'" if algorithm == "fixed" else ago(51)
    if algorithm == "bucket":
        moment = ago(50)  # 1.5 of 3 are back
    await write(
        table, f"INSERT INTO oban_rates VALUES ('default', '', ARRAY[{moment}]::timestamp[], ARRAY[3], {ago(-99)})"
    )
    assert await Limited(table, rate_limit=RateLimit(3, period, algorithm)).ids() == ids[:free]


async def test_a_job_of_weight_counts_as_many_and_is_not_overtaken(table: Table) -> None:
    light, heavy, last = await table.add(), await table.add(weight="4"), await table.add()
    queue = Limited(table, rate_limit=RateLimit(4, 1000))
    assert await queue.ids() == [light]
    assert await queue.ids() == []
    await write(table, "UPDATE oban_rates SET units = ARRAY[0]")
    assert await queue.ids() == [heavy]
    await write(table, "UPDATE oban_rates SET units = ARRAY[0]")
    assert await queue.ids() == [last]


async def test_a_job_that_is_heavier_than_the_rate_takes_all_of_it(table: Table) -> None:
    heavy, _ = await table.add(weight="1000"), await table.add()
    queue = Limited(table, rate_limit=RateLimit(4, 1000))
    assert await queue.ids() == [heavy]
    assert queue.wait() > 0


async def test_an_account_that_was_kept_by_a_faster_clock_holds_nobody_up_for_long(table: Table) -> None:
    await write(
        table,
        f"INSERT INTO oban_rates VALUES ('default', '', ARRAY[{ago(-3600)}]::timestamp[], ARRAY[3], {ago(-9999)})",
    )
    await table.add()
    queue = Limited(table, rate_limit=RateLimit(3, 10))
    assert await queue.ids() == []
    assert 0 < queue.wait() <= 10
    assert await table.scalar(f"SELECT moments[1] < {ago(-1)} FROM oban_rates")


@pytest.mark.parametrize("algorithm", ["sliding", "fixed", "bucket"])
async def test_an_account_does_not_grow_and_old_ones_are_removed(algorithm: str, table: Table) -> None:
    for _ in range(200):
        await table.run(CONSUME, **rate("other", 10_000, 0.5, algorithm))
    await table.run(CONSUME, **rate("old", 10, 0.000001, algorithm))
    assert await table.scalar("SELECT max(cardinality(moments)) <= 66 FROM oban_rates")
    await table.run(CONSUME, **rate("other", 10_000, 0.5, algorithm))
    assert await table.scalar("SELECT array_agg(name) FROM oban_rates") == ["other"]


def rate(name: str, allowed: int, period: float, algorithm: str) -> dict[str, Any]:
    stored = json.dumps(RateLimit(allowed, period, algorithm).stored())
    return {"of_name": name, "of_partition": "", "weight": 1, "rate": stored}


async def test_each_partition_has_the_rate_for_itself(table: Table) -> None:
    for account in (1, 2):
        for _ in range(5):
            await table.add(args=of(account))
    queue = Limited(table, rate_limit=RateLimit(2, 1000), partition=BY_ACCOUNT)
    assert await queue.accounts() == {1: 2, 2: 2}
    assert await queue.accounts() == {}
    assert queue.wait() > 0


@asynccontextmanager
async def heard(engine: AsyncEngine) -> AsyncIterator[list[str]]:
    """The queues that are rung meanwhile."""
    rung: list[str] = []
    listening = create_async_engine(engine.url.set(drivername="postgresql+asyncpg"))
    async with listening.connect() as listener:
        raw: Any = (await listener.get_raw_connection()).driver_connection
        await raw.add_listener("public.oban_insert", lambda *told: rung.append(json.loads(told[3])["queue"]))
        yield rung
    await listening.dispose()


async def add_foreign_producers(table: Table, *queues: str) -> None:
    """Of another library: they are rung whether they sleep or not."""
    await table.scalar(
        "INSERT INTO oban_producers (uuid, node, queue) SELECT gen_random_uuid(), 'foreign', queue "
        f"FROM unnest(ARRAY{[*queues]}) queue RETURNING 1"
    )


async def test_whoever_frees_slots_rings_for_each_of_their_queues(table: Table, engine: AsyncEngine) -> None:
    queues = ["aa", "a", 'a "a', "default"]
    await add_foreign_producers(table, *queues)
    for queue in queues * 2:
        await table.add_executing("me", queue=f"'{queue}'", partition="''")
    async with heard(engine) as rung:
        await write(table, "UPDATE oban_jobs SET state = 'completed'")
        await eventually(lambda: len(rung) >= len(queues), "the notices")
    assert sorted(rung) == sorted(queues)


# A claim that takes outcomes with it


def outcomes(jobs: Sequence[Claimed]) -> list[Ack]:
    return [Ack(job.id, job.attempted_at, JobState.COMPLETED) for job in jobs]


async def test_a_claim_completes_what_has_ended_and_takes_its_slots(table: Table) -> None:
    ids = [await table.add() for _ in range(5)]
    queue = Limited(table, global_limit=2)
    first = await queue.claim()
    assert [job.id for job in await queue.claim(ended=outcomes(first))] == ids[2:4]
    assert queue.written is not None
    assert sorted(queue.written) == ids[:2]
    assert (
        await table.scalar("SELECT count(*) FROM oban_jobs WHERE state = 'completed' AND completed_at IS NOT NULL") == 2
    )
    assert await queue.claim() == []
    assert queue.written is None


@pytest.mark.parametrize(
    "change",
    [
        "attempted_at = attempted_at + interval '1 second'",
        "state = 'available'",
        "meta = '{\"cancel_requested\": {}}'",
        "chain_key = 'c'",
        "workflow_id = 1",
        "batch_id = gen_random_uuid()",
    ],
)
async def test_outcomes_that_need_more_than_a_completion_are_left(change: str, table: Table) -> None:
    waits = await table.add(priority="9")
    ended, other = await table.add_executing(), await table.add_executing()
    acks = [Ack(id_, (await table.job(id_)).attempted_at, JobState.COMPLETED) for id_ in (ended, other)]
    await write(table, f"UPDATE oban_jobs SET {change} WHERE id = {other}")
    left = await table.job(other)
    queue = Limited(table, global_limit=2)
    assert waits in [job.id for job in await queue.claim(ended=acks)]
    assert queue.written == [ended]
    assert (await table.job(other)).completed_at is None
    assert (await table.job(other)).chain_key == left.chain_key


async def test_outcomes_of_rows_that_somebody_holds_are_left(table: Table, engine: AsyncEngine) -> None:
    ended = await table.add_executing()
    ack = Ack(ended, (await table.job(ended)).attempted_at, JobState.COMPLETED)
    async with engine.begin() as other:
        await other.execute(text(f"SELECT FROM oban_jobs WHERE id = {ended} FOR UPDATE"))
        queue = Limited(table, global_limit=1)
        assert await queue.claim(ended=[ack]) == []
    assert queue.written is None


async def test_nobody_is_rung_for_slots_that_are_taken_again(table: Table, engine: AsyncEngine) -> None:
    await add_foreign_producers(table, "default")
    for _ in range(5):
        await table.add()
    queue = Limited(table, global_limit=2)
    async with heard(engine) as rung:
        two = await queue.claim()
        two = await queue.claim(ended=outcomes(two))
        assert len(two) == 2
        await queue.claim(ended=outcomes(two))  # one job is left, so that one slot stays free
        await eventually(lambda: len(rung) >= 1, "the notice")
        await table.scalar("SELECT pg_notify('public.oban_insert', '{\"queue\": \"the end\"}')")
        await eventually(lambda: "the end" in rung, "what was said last")
    assert rung == ["default", "the end"]


async def test_with_partitions_somebody_may_wait_for_the_one_that_was_freed(table: Table, engine: AsyncEngine) -> None:
    await add_foreign_producers(table, "default")
    for account in (1, 2):
        await table.add(args=of(account))
    queue = Limited(table, global_limit=1, partition=BY_ACCOUNT)
    (one,) = await queue.claim(1)
    async with heard(engine) as rung:
        assert len(await queue.claim(1, outcomes([one]))) == 1
        await eventually(lambda: len(rung) >= 1, "the notice")
