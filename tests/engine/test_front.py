"""Nobody waits behind a lesser job for longer than the front allows, whatever was claimed before."""

import random
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from sqlalchemy import text

from sqla_oban.engine.front import MOST_KEYS, REWIND, SHARE, Front
from sqla_oban.queries.claim import START, Claimed, Key
from tests.queries.table import Table

NOON = "2026-11-25 12:00:00"
AVAILABLE = text(
    "SELECT priority, CAST(scheduled_at AS text), id FROM oban_jobs WHERE state = 'available' "
    "ORDER BY priority, oban_jobs.scheduled_at, id"
)


def job(priority: int, id: int = 1, scheduled_at: str = NOON) -> Claimed:
    at = datetime(2026, 11, 25)  # noqa: DTZ001 (as the claim returns it)
    return Claimed(id, "executing", "w", 1, 20, priority, at, scheduled_at, NOON, "{}", "{}", "[]", [])


def test_it_begins_at_the_start() -> None:
    front = Front()
    assert front.at_start
    assert front.keys(0.0) == [START]


def test_it_goes_on_behind_the_last_job_of_each_priority() -> None:
    front = Front()
    front.keys(0.0)
    front.advance([job(2, 1), job(2, 2), job(5, 3)], 0.1)
    assert front.keys(0.2) == [START, Key(2, NOON, 2), Key(5, NOON, 3)]
    front.advance([job(0, 4), job(5, 5)], 0.3)
    assert front.keys(0.4) == [Key(0, NOON, 4), Key(2, NOON, 2), Key(5, NOON, 5)]  # nothing comes before priority 0
    assert not front.at_start


def test_news_and_a_short_claim_bring_it_back() -> None:
    front = Front()
    for back in (front.rewind, front.rewind_soon):
        front.keys(0.0)
        front.advance([job(0)], 0.1)
        back()
        assert front.keys(0.2) == [START]


def test_news_that_come_while_a_claim_is_under_way_count_for_the_next() -> None:
    front = Front()
    front.keys(0.0)
    front.rewind_soon()
    front.advance([job(0)], 0.1)
    assert front.keys(0.2) == [START]


def test_a_look_back_that_costs_nothing_is_taken_at_once_and_one_that_costs_is_repaid_first() -> None:
    front = Front()
    front.keys(0.0)
    front.advance([job(0)], 0.010)
    front.keys(0.010)
    front.advance([job(0)], 0.012)  # 2 ms onwards
    front.rewind_soon()
    assert front.keys(1.0) == [START]
    front.advance([job(0)], 1.002)  # as long from the start
    assert front.keys(1.002) == [START]
    front.advance([job(0)], 1.014)  # 12 ms: 10 of them lost
    due = 1.014 + SHARE * 0.010
    assert front.keys(due - 0.001) != [START]
    assert front.keys(due + 0.001) == [START]


def test_a_claim_onwards_that_was_slow_by_chance_makes_no_look_back_free() -> None:
    front = Front()
    for began, taken in ((0.0, 0.010), (0.1, 0.002), (0.2, 0.500)):  # the last waited for the event loop
        front.keys(began)
        front.advance([job(0)], began + taken)
    front.rewind_soon()
    front.keys(1.0)
    front.advance([job(0)], 1.012)
    assert front.keys(1.1) != [START]


def test_what_claims_onwards_take_may_grow() -> None:
    front = Front()
    for place in range(100):
        began = place / 1000
        front.keys(began)
        front.advance([job(0)], began + (0.002 if place < 10 else 0.012))
    front.rewind_soon()
    front.keys(0.5)
    front.advance([job(0)], 0.512)
    assert front.keys(0.513) == [START]


def test_however_much_it_costs_a_look_back_is_taken_once_a_second() -> None:
    front = Front()
    front.keys(0.0)
    front.advance([job(0)], 0.001)
    front.keys(0.001)
    front.advance([job(0)], 0.002)
    front.rewind_soon()
    front.keys(5.0)
    front.advance([job(0)], 6.0)
    assert front.keys(5.0 + REWIND - 0.01) != [START]
    assert front.keys(6.0 + REWIND) == [START]


def test_more_priorities_than_it_follows_are_claimed_from_the_start() -> None:
    front = Front()
    front.keys(0.0)
    front.advance([job(priority) for priority in range(MOST_KEYS + 1)], 0.001)
    assert front.keys(0.002) == [START]


@dataclass
class Claimer:
    """A producer as far as the order of its claims is concerned; `late` is what it may have passed over."""

    front: Front
    clock: float = 0.0
    late: set[int] = field(default_factory=set)


@pytest.mark.parametrize("seed", range(6))
async def test_no_job_waits_behind_a_lesser_one_for_more_than_a_claim_once_it_is_visible(
    seed: int, table: Table
) -> None:
    """Random inserts, priorities, moments, retries and claims of three producers, one after the other.

    What is visible before a claim and was not passed over by this claimer is never behind a job that it takes; and
    a job that was passed over is found by its next look back, which comes at the next claim where it costs nothing.
    """
    chance = random.Random(seed)
    claimers = [Claimer(Front()) for _ in range(3)]
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            at = f"timestamp '{NOON}' + {chance.randrange(50)} * interval '1 second'"
            await table.add(priority=str(chance.randrange(10)), scheduled_at=at)
        if chance.random() < 0.3:
            await table.scalar(
                "UPDATE oban_jobs SET state = 'available' WHERE id IN "
                "(SELECT id FROM oban_jobs WHERE state = 'executing' ORDER BY id % 7, id LIMIT 2) RETURNING id"
            )
        await _claim(chance.choice(claimers), table, chance)
    for claimer in claimers:
        claimer.front.rewind_soon()
        await _claim(claimer, table, chance, demand=1_000)
    assert "available" not in (await table.states()).values()


async def _claim(claimer: Claimer, table: Table, chance: random.Random, demand: int | None = None) -> None:
    keys = claimer.front.keys(claimer.clock)
    from_start = keys == [START]
    waiting = await _waiting(table)
    if from_start:
        claimer.late.clear()
    demand = demand or chance.randrange(1, 5)
    claimed = sorted(await table.claim(demand, after=keys), key=lambda one: (one.priority, one.scheduled_at, one.id))
    claimer.late |= {key.id for key in waiting if not any(_covers(keys, place, key) for place in range(len(keys)))}
    claimer.clock += chance.choice([0.001, 0.004])
    claimer.front.advance(claimed, claimer.clock)
    if len(claimed) < demand:
        claimer.front.rewind()
    due = [key for key in waiting if key.id not in claimer.late]
    assert [one.id for one in claimed] == [key.id for key in due[:demand]]
    for key in waiting:
        if key.id in claimer.late:
            (passed,) = [one for one in keys if one.priority == key.priority]
            assert key <= passed  # at an earlier place of its own priority, never of a higher one


async def _waiting(table: Table) -> list[Key]:
    rows = await table.run(AVAILABLE)
    return [Key._make(row) for row in rows]


def _covers(keys: list[Key], place: int, key: Key) -> bool:
    below = keys[place + 1].priority if place + 1 < len(keys) else 1_000_000
    return keys[place] < key and key.priority < below
