from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from tests.cli.operating.conftest import Command


def said(connection: Connection) -> list[tuple[Any, ...]]:
    rows = connection.execute(text("SELECT queue, node, paused, local_limit FROM oban_queues ORDER BY queue, node"))
    return [tuple(row) for row in rows]


def test_queues_are_listed_with_their_nodes_and_what_there_is_to_do(
    cli: Command, add: Callable[..., int], node: Callable[..., str]
) -> None:
    producer = node("mailers")
    add(queue="'mailers'", state="'executing'", attempted_by=f"ARRAY['node-1', '{producer}']")
    add(queue="'mailers'")
    add(queue="'lonely'", state="'scheduled'", scheduled_at="timezone('UTC', now()) + interval '1 hour'")
    lines = [line.split() for line in cli("queues", "list").out.splitlines() if line.strip()]
    assert lines[2][:10] == ["mailers", "node-1", "7", "-", "-", "1", "running", "1", "0", "0"]
    assert lines[3][:11] == ["lonely", "-", "-", "-", "-", "-", "no", "node", "0", "1", "0"]
    data = cli("queues", "list", "--json").data
    assert [(queue["queue"], queue["running"]) for queue in data["queues"]] == [("mailers", [1])]
    assert {depth["queue"]: depth["counts"] for depth in data["depths"]} == {
        "lonely": {"scheduled": {"jobs": 1, "exact": True}},
        "mailers": {"available": {"jobs": 1, "exact": True}, "executing": {"jobs": 1, "exact": True}},
    }


def test_a_queue_is_paused_resumed_and_scaled(cli: Command, connection: Connection, node: Callable[..., str]) -> None:
    node("mailers")
    assert cli("queues", "pause", "mailers").out == "queue mailers paused\n"
    assert said(connection) == [("mailers", "", True, None)]
    assert cli("queues", "resume", "mailers").out == "queue mailers resumed\n"
    assert said(connection) == [("mailers", "", False, None)]
    done = cli("queues", "scale", "mailers", "3", "--node", "node-1", "--json")
    assert done.data == {"queue": "mailers", "node": "node-1", "nodes": ["node-1"]}
    assert ("mailers", "node-1", None, 3) in said(connection)


def test_limits_over_all_nodes_are_set_and_lifted(cli: Command, connection: Connection) -> None:
    stored = text("SELECT local_limit, global_limit, rate_limit FROM oban_queues")
    assert cli("queues", "scale", "api", "9", "--global-limit", "3", "--rate", "100/60/bucket").code == 0
    assert connection.execute(stored).one() == (9, 3, {"allowed": 100, "period": 60, "algorithm": "bucket"})
    assert cli("queues", "scale", "api", "--global-limit", "none", "--rate", "none").code == 0
    assert connection.execute(stored).one() == (9, 0, False)
    for wrong in ("100", "x/60", "0/60", "5/0", "5/1/leaky"):
        done = cli("queues", "scale", "api", "--rate", wrong)
        assert (done.code, "is no rate: write jobs/seconds, as 100/60" in done.err) == (2, True)
    assert cli("queues", "scale", "api", "--global-limit", "0").code == 2
    assert cli("queues", "scale", "api").code == 1
    assert cli("queues", "scale", "api", "--global-limit", "3", "--node", "node-1").code == 1


def test_limits_of_a_queue_are_listed(cli: Command, connection: Connection, node: Callable[..., str]) -> None:
    node("api")
    limits = '{"limits": {"global_limit": 3, "rate_limit": {"allowed": 5, "period": 0.5, "algorithm": "sliding"}}}'
    connection.execute(text("UPDATE oban_producers SET meta = meta || CAST(:limits AS jsonb)"), {"limits": limits})
    assert cli("queues", "list").out.splitlines()[3].split()[:5] == ["api", "node-1", "7", "3", "5/0.5"]
    (queue,) = cli("queues", "list", "--json").data["queues"]
    assert (queue["global_limit"], queue["rate_limit"]["allowed"]) == (3, 5)


def test_every_queue_is_paused_by_a_star(cli: Command, connection: Connection, node: Callable[..., str]) -> None:
    node("mailers")
    assert cli("queues", "pause", "*").out == "every queue paused\n"
    assert said(connection) == [("*", "", True, None)]


def test_who_pauses_what_nobody_runs_is_told_so(cli: Command) -> None:
    done = cli("queues", "pause", "mialers")
    assert (done.code, done.out) == (0, "queue mialers paused\n")
    assert done.err == "no node runs queue mialers now; it holds for those that will\n"


def test_other_runners_are_steered_by_their_name(cli: Command, connection: Connection) -> None:
    cli("queues", "pause", "mailers", "--name", "Second")
    assert connection.scalar(text("SELECT name FROM oban_queues")) == "Second"


def test_a_limit_that_is_none_is_a_wrong_usage(cli: Command) -> None:
    assert cli("queues", "scale", "mailers", "0").code == 2
    assert cli("queues", "scale", "*", "3").code == 1
