"""One leader, whatever comes and goes."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import SqlaOban
from sqla_oban.engine.clock import now
from sqla_oban.settings import LeaderSettings
from sqla_oban.telemetry.events import Beaten, LeadershipGained, LeadershipLost, ListenerUp
from tests.support import Recorder, eventually, fast_settings

TTL = LeaderSettings(ttl=1.5, margin=0.3)
UNHURRIED = LeaderSettings(ttl=6.0, margin=0.3)
"""The machine may be busy for 3.8 s before a leader loses its lease."""


async def start_four(start: Any, events: Recorder) -> list[SqlaOban]:
    nodes = []
    for number in range(4):
        nodes.append(await start(queues={"default": 1}, node=f"node-{number}", leader=UNHURRIED))
        await events.wait_for(Beaten, count=4, node=f"node-{number}")  # most of a second apart
    return nodes


async def test_four_nodes_started_apart_have_exactly_one_leader_at_every_moment(start: Any, events: Recorder) -> None:
    nodes = await start_four(start, events)
    loop = asyncio.get_running_loop()
    ends = loop.time() + 1.3 * UNHURRIED.ttl
    samples = set()
    while loop.time() < ends:
        samples.add(tuple(node.node for node in nodes if node.is_leader))
        tick = asyncio.Event()
        loop.call_later(0.005, tick.set)
        await tick.wait()
    assert samples == {("node-0",)}
    assert len(events.of(LeadershipGained)) == 1


async def test_a_leader_that_stops_is_followed_at_once(start: Any, events: Recorder) -> None:
    long = LeaderSettings(ttl=600)
    first = await start(queues={"default": 1}, node="first", leader=long)
    await eventually(lambda: first.is_leader, "the first to lead")
    second = await start(queues={"default": 1}, node="second", leader=long)
    await first.stop()
    assert not first.is_leader
    await eventually(lambda: second.is_leader, "the second to lead, long before the lease would end")
    assert [event.node for event in events.of(LeadershipLost)] == ["first"]


async def test_a_leader_that_stops_while_another_hears_nothing_is_followed_when_it_hears_anew(
    engine: AsyncEngine, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = LeaderSettings(ttl=600)
    first = await start(queues={"default": 1}, node="first", leader=long)
    await eventually(lambda: first.is_leader, "the first to lead")
    second = await start(queues={"default": 1}, node="second", leader=long)
    await events.wait_for(ListenerUp, node="second")
    monkeypatch.setattr(second._node._notifier, "_subscribers", {})
    await first.stop()
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'sqla_oban pulse' AND datname = current_database()"
            )
        )
    await eventually(lambda: second.is_leader, "the second to lead, long before the lease would end")


async def test_two_nodes_of_the_same_name_do_not_both_lead(engine: AsyncEngine, start: Any) -> None:
    twins = [await start(queues={"default": 1}, node="twin", leader=LeaderSettings(ttl=600)) for _ in range(2)]
    await eventually(lambda: any(twin.is_leader for twin in twins), "one to lead")
    assert sum(twin.is_leader for twin in twins) == 1


async def test_a_leader_that_cannot_renew_stops_to_lead_by_its_own_clock(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    node = await start(queues={"default": 1}, leader=TTL)
    await eventually(lambda: node.is_leader, "the node to lead")
    async with engine.connect() as connection:  # its renewals wait for this lock
        await connection.execute(text("SELECT FROM oban_peers FOR UPDATE"))
        left = text("SELECT extract(epoch FROM expires_at - timezone('UTC', clock_timestamp()))::float FROM oban_peers")
        lease = float(await connection.scalar(left) or 0.0)
        assert node._node._leader._trusted_until < now() + lease, "it stops before its lease ends, by `margin`"
        await eventually(lambda: not node.is_leader, "the node to stop leading")
        holder = await connection.scalar(text("SELECT node FROM oban_peers"))
        assert holder == node.node, "though nobody else was granted the lease"
    await eventually(lambda: node.is_leader, "the node to lead again")


async def test_leaders_of_different_names_do_not_know_each_other(engine: AsyncEngine, start: Any) -> None:
    nodes = [await start(queues={"default": 1}, name=name) for name in ("one", "other")]
    await eventually(lambda: all(node.is_leader for node in nodes), "each to lead")


async def test_a_node_without_leadership_never_leads(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    await start(queues={"default": 1}, node="worker", leadership=False)
    await events.wait_for(Beaten, count=5, node="worker")
    assert events.of(LeadershipGained) == []


async def test_a_stopped_leader_leaves_no_lease_behind(engine: AsyncEngine) -> None:
    async with SqlaOban(engine, queues={"default": 1}, **fast_settings()) as node:
        await eventually(lambda: node.is_leader, "the node to lead")
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM oban_peers")) == 0
