import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from sqla_oban import JobState
from sqla_oban.queries.producers import BEAT, DEREGISTER, OURS, SWEEP, producer_id
from tests.queries.table import PAST, Table, ago

TOLD = {"version": "1", "hearing": True, "clock": 0.0}


async def beat(
    table: Table,
    *uuids: UUID,
    ttl: float = 15.0,
    limit: int = 5,
    paused: bool = False,
    running: int = 0,
    over_all: str | None = None,
) -> None:
    asked: dict[str, Any] = {
        "uuids": list(uuids),
        "queues": [f"q{number}" for number, _ in enumerate(uuids)],
        "limits": [limit] * len(uuids),
        "paused": [paused] * len(uuids),
        "running": [running] * len(uuids),
        "over_all": [over_all] * len(uuids),
    }
    await table.run(BEAT, **asked, name="Oban", node="here", ttl=ttl, **TOLD)


async def producers(table: Table) -> set[str]:
    return set(await table.scalar("SELECT coalesce(array_agg(uuid::text), '{}') FROM oban_producers"))


async def test_a_beat_registers_the_producers_of_a_node(table: Table) -> None:
    uuids = [producer_id(), producer_id()]
    await beat(table, *uuids)
    assert await producers(table) == {str(uuid) for uuid in uuids}
    row = f"FROM oban_producers WHERE uuid = '{uuids[1]}'"
    assert await table.scalar(f"SELECT meta {row}") == {
        "local_limit": 5,
        "paused": False,
        "running": 0,
        "limits": None,
        "ttl": 15,
        **TOLD,
    }
    assert await table.scalar(f"SELECT ARRAY[name, node, queue] {row}") == ["Oban", "here", "q1"]
    assert await table.scalar(f"SELECT updated_at = started_at OR updated_at > started_at {row}")


async def test_a_later_beat_renews_and_keeps_the_beginning(table: Table) -> None:
    uuid = producer_id()
    await beat(table, uuid)
    asked = "SELECT ARRAY[started_at, updated_at]::text[] FROM oban_producers"
    started, first = await table.scalar(asked)
    await beat(table, uuid, ttl=30, limit=7, paused=True, running=3, over_all='{"global_limit": 2}')
    again, second = await table.scalar(asked)
    assert again == started
    assert second > first
    meta = await table.scalar("SELECT meta FROM oban_producers")
    told = {"local_limit": 7, "paused": True, "running": 3, "limits": {"global_limit": 2}, "ttl": 30}
    assert meta == {**told, **TOLD}


async def test_a_node_that_stopped_removes_its_producers_only(table: Table) -> None:
    mine, others = producer_id(), producer_id()
    await beat(table, mine, others)
    await table.run(DEREGISTER, uuids=[mine])
    assert await producers(table) == {str(others)}


async def test_expired_producers_are_forgotten_once_nothing_of_theirs_is_executing(table: Table) -> None:
    alive = await table.add_producer(beaten=ago(0), meta='{"ttl": 15}')
    busy, idle = [await table.add_producer(beaten=PAST, meta='{"ttl": 15}') for _ in range(2)]
    held = await table.add_executing(busy)
    await table.run(SWEEP)
    assert await producers(table) == {alive, busy}
    assert idle not in await producers(table)
    await table.scalar(f"UPDATE oban_jobs SET state = 'completed' WHERE id = {held} RETURNING id")
    await table.run(SWEEP)
    assert await producers(table) == {alive}


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.EXECUTING])
async def test_jobs_that_ended_do_not_keep_a_producer(state: JobState, table: Table) -> None:
    producer = await table.add_producer(beaten=PAST)
    await table.add_executing(producer, state=f"'{state}'")
    await table.run(SWEEP)
    assert await producers(table) == set()


@pytest.mark.parametrize("ttl", ['"abc"', '"NaN"', "{}", "true", "1e300", "1e1000", "-1e300"])
async def test_no_ttl_that_somebody_wrote_breaks_the_sweep_of_others(ttl: str, table: Table) -> None:
    odd = await table.add_producer(beaten=ago(0), meta=f'{{"ttl": {ttl}}}')
    await table.add_executing(odd)
    await table.add_producer(beaten=PAST, meta='{"ttl": 15}')
    await table.run(SWEEP)
    assert await producers(table) == {odd}


def test_our_ids_are_random_and_of_version_8() -> None:
    ids = [producer_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {(one.version, one.variant) for one in ids} == {(8, uuid4().variant)}


def test_our_ids_match_the_pattern_and_those_of_others_do_not() -> None:
    pattern = re.compile(OURS.replace("_", ".").replace("%", ".*"))
    assert all(pattern.fullmatch(str(producer_id())) for _ in range(100))
    assert not any(pattern.fullmatch(str(uuid4())) for _ in range(100))
