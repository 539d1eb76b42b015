"""Under a global limit a claim takes outcomes with it, so that a slot stays where a job has ended; for a while."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sqla_oban import QueueConfig, RateLimit
from sqla_oban.engine import claims as module
from sqla_oban.engine.acker import Acker
from sqla_oban.engine.claims import KEEP, Claims
from sqla_oban.engine.limits import Limits
from sqla_oban.queries.ack import Ack
from sqla_oban.queries.claim import Claimed
from sqla_oban.settings import AckerSettings
from sqla_oban.states import JobState

NOW = datetime(2026, 11, 30, tzinfo=UTC)
LIMITED = QueueConfig(global_limit=5)
RAISING = "raising"


class Database:
    """A link to one that claims a job with each statement, and notes what it is asked to complete.

    Attributes:
        answers: what comes back, in turn: `RAISING`, or how many of the outcomes are written; all, if there is none.
        written: the ids that the acker wrote.
    """

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.written: list[int] = []
        self.answers: list[Any] = []
        self.error: Exception = ConnectionError("gone")
        self.answers_acker = asyncio.Event()
        self.answers_acker.set()

    async def fetch(self, statement: object, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        if "of_queue" not in parameters:
            self.written += parameters["ids"]
            await self.answers_acker.wait()
            return [(id_,) for id_ in parameters["ids"]]
        self.asked.append(parameters["ids"])
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else len(parameters["ids"])
        if answer is RAISING:
            raise self.error
        job = tuple(Claimed(len(self.asked), "executing", "w", 1, 20, 0, NOW, "", "", "{}", "{}", "[]", []))
        nothing = (None,) * len(job)
        return [
            (*job, None, None, None, None, None),
            (*nothing, "", False, False, None, parameters["ids"][:answer] or None),
        ]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def acker(database: Any) -> AsyncIterator[Acker]:
    """With no turn of its own until somebody waits for one."""
    async with Acker(database, node="n", settings=AckerSettings(batch=3)) as acker:
        yield acker


def claims_of(database: Any, acker: Acker, config: QueueConfig = LIMITED) -> Claims:
    claims = Claims(database, acker, runners="Oban", queue="default", holder=["n", "p"], schema=None)
    claims.restrict(Limits.of(config))
    return claims


def ended(*ids: int, state: JobState = JobState.COMPLETED) -> list[Ack]:
    return [Ack(id_, NOW, state) for id_ in ids]


def add(acker: Acker, *acks: Ack) -> None:
    for ack in acks:
        acker.add(ack)


async def written(database: Database, *ids: int) -> bool:
    for _ in range(50):
        await asyncio.sleep(0)
    return sorted(database.written) == sorted(ids)


async def test_outcomes_go_with_the_claim_that_follows_one_that_found_something(
    database: Database, acker: Acker
) -> None:
    claims = claims_of(database, acker)
    await claims.take(5, [])
    add(acker, *ended(7, 8))
    await claims.take(5, [])
    assert database.asked == [[], [7, 8]]
    assert acker.pending_ids == []
    assert await written(database)


async def test_while_a_claim_has_them_they_count_as_pending(database: Database, acker: Acker) -> None:
    claims = claims_of(database, acker)
    await claims.take(5, [])
    add(acker, *ended(7))
    room = acker.room
    claim = asyncio.create_task(claims.take(5, []))
    await asyncio.sleep(0)
    assert (acker.pending_ids, acker.room) == ([7], room)
    await claim
    assert acker.pending_ids == []


async def test_what_needs_more_words_is_the_ackers_and_no_more_go_than_it_writes_at_once(
    database: Database, acker: Acker
) -> None:
    claims = claims_of(database, acker)
    await claims.take(5, [])
    add(acker, *ended(1, 2), *ended(3, state=JobState.CANCELLED), *ended(4, 5))
    await claims.take(5, [])
    assert database.asked[-1] == [1, 2, 4]
    assert await written(database, 3, 5)


async def test_what_a_claim_leaves_is_written_by_the_acker_and_the_next_claim_comes_without(
    database: Database, acker: Acker
) -> None:
    claims = claims_of(database, acker)
    await claims.take(5, [])
    add(acker, *ended(7, 8))
    database.answers = [1]
    await claims.take(5, [])
    assert acker.pending_ids == [8]
    await claims.take(5, [])
    assert database.asked == [[], [7, 8], []]
    assert await written(database, 8)


async def test_a_claim_that_fails_loses_none(database: Database, acker: Acker) -> None:
    claims = claims_of(database, acker)
    await claims.take(5, [])
    add(acker, *ended(7, 8))
    database.answers = [RAISING]
    with pytest.raises(ConnectionError):
        await claims.take(5, [])
    assert acker.pending_ids == [7, 8]
    assert await written(database, 7, 8)


async def test_a_claim_does_not_fail_for_an_outcome_that_is_refused(
    database: Database, acker: Acker, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = claims_of(database, acker)
    await claims.take(5, [])
    add(acker, *ended(7))
    database.answers = [RAISING]
    monkeypatch.setattr(module, "concerns_a_row", lambda error: error is database.error)
    assert len(await claims.take(5, [])) == 1
    assert database.asked == [[], [7], []]
    assert await written(database, 7)


async def test_what_could_not_be_written_is_never_lent_again(database: Database, acker: Acker) -> None:
    add(acker, *ended(7))
    lent = acker.lend()
    acker.take_back(lent, [])
    add(acker, *ended(8))
    assert acker.lend() == ended(8)
    acker.take_back(ended(8), [8])
    assert acker.pending_ids == [7]


async def test_what_is_being_written_is_not_lent(database: Database, acker: Acker) -> None:
    add(acker, *ended(1, 2, 3, 4, 5))
    database.answers_acker.clear()
    assert await written(database, 1, 2, 3)
    assert acker.lend() == ended(4, 5)
    acker.take_back(ended(4, 5), [4])
    database.answers_acker.set()
    assert await written(database, 1, 2, 3, 5)


async def test_slots_are_kept_for_a_time_only(
    database: Database, acker: Acker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock))
    claims = claims_of(database, acker)
    for number in (1, 2, 3):
        await claims.take(5, [])
        add(acker, *ended(number))
        clock += 0.6 * KEEP
    assert database.asked == [[], [1], []]
    assert await written(database, 2, 3)


async def test_where_no_slot_is_waited_for_no_outcome_is_taken(database: Database, acker: Acker) -> None:
    claims = claims_of(database, acker, QueueConfig(rate_limit=RateLimit(9, 9)))
    await claims.take(5, [])
    add(acker, *ended(7))
    await claims.take(5, [])
    assert database.asked == [[], []]
    assert await written(database, 7)
