"""What Prometheus reads of a dashboard."""

import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sqla_oban.observe.fleet import FleetMetrics
from sqla_oban.web import metrics
from sqla_oban.web.actions import Action
from tests.queries.table import Table, ago

Told = dict[tuple[str, ...], float]


def told(text: str) -> Told:
    """Every value by its name and labels, as Prometheus understands them."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
async def fleet(table: Table) -> None:
    for node, beaten, hearing in (("a", 1.0, True), ("b", 1.0, False), ("gone", 999.0, True)):
        meta = {"ttl": 60, "local_limit": 5, "running": 2, "paused": node == "b", "hearing": hearing}
        await table.scalar(
            "INSERT INTO oban_producers (uuid, name, node, queue, meta, updated_at) VALUES "
            f"(gen_random_uuid(), 'Oban', '{node}', 'mail', '{json.dumps(meta)}', {ago(beaten)}) RETURNING 1"
        )
    await table.scalar(f"INSERT INTO oban_peers VALUES ('Oban', 'a', {ago(9)}, {ago(-60)}) RETURNING 1")
    await table.add(queue="'mail'", scheduled_at=ago(100))
    await table.add(queue="'mail'")
    await table.add(queue="'od\"d'", state="'retryable'")


async def test_queues_and_nodes_are_told_without_a_runner(visit: Any, fleet: None) -> None:
    found = told(await visit(metrics=FleetMetrics()).get("/metrics"))
    assert found["sqla_oban_queue_depth", "mail", "available"] == 2
    assert found["sqla_oban_queue_depth", 'od"d', "retryable"] == 1
    assert found["sqla_oban_queue_lag_seconds", "mail"] >= 100
    assert [found["sqla_oban_node_up", "Oban", node] for node in ("a", "b", "gone")] == [1, 1, 0]
    assert [found["sqla_oban_leader", node] for node in ("a", "b")] == [1, 0]
    assert [found["sqla_oban_listener_up", node] for node in ("a", "b")] == [1, 0]
    assert found["sqla_oban_queue_running", "Oban", "a", "mail"] == 2
    assert found["sqla_oban_queue_limit", "Oban", "a", "mail"] == 5
    assert [found["sqla_oban_queue_paused", "Oban", node, "mail"] for node in ("a", "b")] == [0, 1]
    assert not [key for key in found if "gone" in key and key[0] != "sqla_oban_node_up"]


async def test_an_answer_is_good_for_some_seconds(visit: Any, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "GOOD_FOR", metrics.GOOD_FOR * 100)
    visitor = visit(metrics=FleetMetrics())
    await table.add()
    first = await visitor.get("/metrics")
    await table.add()
    assert await visitor.get("/metrics") == first


async def test_they_are_there_only_where_asked_for_and_for_who_may_read(visit: Any) -> None:
    await visit().get("/metrics", 404)
    asked: list[Action] = []

    def nothing(_: Any, action: Action) -> bool:
        asked.append(action)
        return False

    assert await visit(metrics=FleetMetrics(), authorize=nothing).get("/metrics", 403) == "You may not see this.\n"
    assert asked == [Action.READ]
