import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.queries.lease import ELECT, REMAINING, RESIGN
from tests.queries.table import Table


async def elect(table: Table, node: str, *, term: str | None = None, ttl: float = 60, name: str = "Oban") -> str | None:
    rows = await table.run(ELECT, name=name, node=node, term=term, ttl=ttl)
    return str(rows[0][0]) if rows else None


async def remaining(table: Table, name: str = "Oban") -> float | None:
    rows = await table.run(REMAINING, name=name)
    return float(rows[0][0]) if rows else None


async def expire(table: Table) -> None:
    await table.scalar("UPDATE oban_peers SET expires_at = timezone('UTC', clock_timestamp()) RETURNING name")


async def test_the_first_that_asks_gets_the_lease_and_others_do_not(table: Table) -> None:
    assert await elect(table, "a") is not None
    assert await elect(table, "b") is None
    assert await table.scalar("SELECT node FROM oban_peers") == "a"


async def test_a_renewal_keeps_the_term_and_lasts_longer(table: Table) -> None:
    term = await elect(table, "a", ttl=10)
    assert await elect(table, "a", term=term, ttl=100) == term
    left = await remaining(table)
    assert left is not None
    assert 10 < left <= 100


@pytest.mark.parametrize("term", [None, "2020-01-01 00:00:00"], ids=["no-term", "an-old-term"])
async def test_a_second_process_of_the_same_node_is_a_stranger(term: str | None, table: Table) -> None:
    await elect(table, "a")
    assert await elect(table, "a", term=term) is None


async def test_a_lease_that_ran_out_is_anybodys_and_begins_a_new_term(table: Table) -> None:
    first = await elect(table, "a")
    await expire(table)
    second = await elect(table, "b")
    assert second is not None
    assert second != first
    assert await elect(table, "a", term=first) is None


async def test_a_holder_may_renew_a_lease_that_ran_out_while_nobody_took_it(table: Table) -> None:
    term = await elect(table, "a")
    await expire(table)
    assert await elect(table, "a", term=term) == term


async def test_of_many_that_ask_at_once_one_gets_it(table: Table, engine: AsyncEngine) -> None:
    async def ask(node: str) -> str | None:
        async with engine.connect() as connection:
            return await elect(Table(await connection.execution_options(isolation_level="AUTOCOMMIT")), node)

    granted = await asyncio.gather(*(ask(str(number)) for number in range(10)))
    assert len([term for term in granted if term]) == 1


async def test_leases_of_other_names_are_independent(table: Table) -> None:
    assert await elect(table, "a", name="One")
    assert await elect(table, "b", name="Two")


@pytest.mark.parametrize(
    ("node", "own_term", "left"),
    [("a", True, None), ("b", True, "a"), ("a", False, "a")],
    ids=["its-own", "anothers", "of-another-term"],
)
async def test_only_ones_own_lease_can_be_given_back(node: str, own_term: bool, left: str | None, table: Table) -> None:
    term = await elect(table, "a")
    await table.run(RESIGN, name="Oban", node=node, term=term if own_term else "2020-01-01 00:00:00")
    assert await table.scalar("SELECT node FROM oban_peers") == left


async def test_nobody_holds_a_lease_that_was_never_taken(table: Table) -> None:
    assert await remaining(table) is None
