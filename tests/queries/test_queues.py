import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.queries.producers import producer_id
from sqla_oban.queries.queues import CHECK, FOREIGN, FORGET, SERIALISE, WORDS, say, signal, unsay
from tests.queries.table import PAST, Table, ago

OURS = '{"ttl": 15, "local_limit": 5, "paused": false}'


def place(queue: str = "mail", node: str = "", name: str = "Oban") -> dict[str, str]:
    return {"of_runners": name, "of_queue": queue, "on_node": node}


async def rows(table: Table) -> dict[tuple[str, str], tuple[Any, Any, Any]]:
    found = await table.connection.execute(text("SELECT queue, node, running, paused, local_limit FROM oban_queues"))
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in found}


async def test_a_word_is_kept_and_the_next_one_changes_only_its_own_field(table: Table) -> None:
    await table.run(say({"paused": True}), **place())
    await table.run(say({"local_limit": 7}), **place())
    assert await rows(table) == {("mail", ""): (None, True, 7)}
    await table.run(say({"running": True, "paused": False}), **place())
    assert await rows(table) == {("mail", ""): (True, False, 7)}


async def test_a_word_said_again_is_newer(table: Table) -> None:
    asked = "SELECT updated_at::text FROM oban_queues"
    await table.run(say({"paused": True}), **place())
    before = await table.scalar(asked)
    await table.run(say({"paused": True}), **place())
    assert await table.scalar(asked) > before


async def test_a_word_for_every_node_takes_back_what_was_said_for_single_ones(table: Table) -> None:
    await table.run(say({"paused": True, "local_limit": 3}), **place(node="one"))
    await table.run(say({"paused": True}), **place(node="two"))
    await table.run(say({"paused": True}), **place(queue="other", node="one"))
    await table.run(say({"paused": False}), **place())
    await table.run(unsay({"paused": False}), **place())
    await table.run(FORGET, of_runners="Oban")
    assert await rows(table) == {
        ("mail", ""): (None, False, None),
        ("mail", "one"): (None, None, 3),
        ("other", "one"): (None, True, None),
    }


async def test_a_word_for_every_queue_and_node_takes_back_all_others(table: Table) -> None:
    for queue, node in [("mail", ""), ("mail", "one"), ("*", "one")]:
        await table.run(say({"paused": True}), **place(queue, node))
    await table.run(say({"paused": False}), **place("*"))
    await table.run(unsay({"paused": False}), **place("*"))
    await table.run(FORGET, of_runners="Oban")
    assert await rows(table) == {("*", ""): (None, False, None)}


async def test_a_word_for_every_queue_of_one_node_is_said_for_each_queue_that_has_one(table: Table) -> None:
    await table.run(say({"paused": False}), **place("mail"))
    await table.run(say({"paused": False}), **place("media", "one"))
    await table.run(say({"paused": False}), **place("far", "two"))
    await table.run(say({"paused": True}), **place("*", "one"))
    assert await rows(table) == {
        ("mail", ""): (None, False, None),
        ("media", "one"): (None, True, None),
        ("far", "two"): (None, False, None),
        ("*", "one"): (None, True, None),
        ("mail", "one"): (None, True, None),
    }


async def test_runners_of_another_name_are_not_meant(table: Table) -> None:
    await table.run(say({"paused": True}), **place(node="one", name="Other"))
    await table.run(say({"paused": False}), **place("*"))
    await table.run(unsay({"paused": False}), **place("*"))
    await table.run(FORGET, of_runners="Oban")
    assert [tuple(row[:4]) for row in await table.run(WORDS, of_runners="Other", on_node="one")] == [
        ("mail", "one", None, True)
    ]


async def test_a_node_reads_what_was_said_for_it_and_for_all(table: Table) -> None:
    for node in ("", "one", "two"):
        await table.run(say({"local_limit": 4}), **place(node=node))
    found = await table.run(WORDS, of_runners="Oban", on_node="one")
    assert sorted(tuple(row[:5]) for row in found) == [("mail", "", None, None, 4), ("mail", "one", None, None, 4)]
    assert all(row.said_at for row in found)


async def test_commands_of_one_name_take_turns_and_those_of_another_do_not_wait(
    table: Table, engine: AsyncEngine
) -> None:
    async with engine.connect() as first:
        await first.execute(SERIALISE, {"of_runners": "Oban"})
        await table.run(SERIALISE, of_runners="Other")
        second = asyncio.create_task(table.run(SERIALISE, of_runners="Oban"))
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not (await first.execute(waiting)).scalar():
            assert not second.done()
    await second


@pytest.mark.parametrize(
    ("name", "meta", "expected"), [("Oban", "{}", True), ("Oban", OURS, False), ("Other", "{}", False)]
)
async def test_producers_of_another_library_are_known_by_their_missing_ttl(
    table: Table, name: str, meta: str, expected: bool
) -> None:
    uuid = await table.add_producer(beaten=ago(0), meta=meta)
    await table.scalar(f"UPDATE oban_producers SET name = '{name}' WHERE uuid = '{uuid}' RETURNING uuid")
    assert (await table.run(FOREIGN, of_runners="Oban"))[0][0] is expected


async def test_a_signal_that_is_sent_is_json(table: Table) -> None:
    await table.run(signal(None), notice='{"action": "queues"}')
    with pytest.raises(Exception, match="json"):
        await table.run(signal(None), notice="no json")


async def test_a_check_tells_the_jobs_of_each_living_producer(table: Table) -> None:
    busy, idle = [await table.add_producer(beaten=ago(0), meta=OURS) for _ in range(2)]
    await table.add_producer(beaten=PAST, meta=OURS)
    ids = [await table.add_executing(busy) for _ in range(2)]
    await table.add_executing(busy, state="'completed'")
    await table.scalar("UPDATE oban_producers SET name = 'Oban' RETURNING uuid")
    found = {str(row.uuid): row for row in await table.run(CHECK, of_runners="Oban")}
    assert found.keys() == {busy, idle}
    assert (found[busy].running, found[idle].running) == (ids, [])
    assert (found[busy].limit, found[busy].paused, found[busy].queue) == ("5", False, "default")
    assert found[busy].started_at.utcoffset() is not None


@pytest.mark.parametrize("started", ["'infinity'", "'-infinity'", "'20000-01-01'", "'4000-01-01 BC'"])
@pytest.mark.parametrize("meta", ["[1]", '"text"', '{"local_limit": {"a": 1}, "paused": 7}', f'{{"ttl": {10**400}}}'])
async def test_a_check_survives_what_others_wrote(table: Table, started: str, meta: str) -> None:
    uuid = producer_id()
    await table.add_producer(beaten=ago(0), meta=meta, started=started, uuid=uuid)
    await table.scalar("UPDATE oban_producers SET name = 'Oban' RETURNING uuid")
    (row,) = await table.run(CHECK, of_runners="Oban")
    assert row.uuid == uuid
    assert row.running == []
