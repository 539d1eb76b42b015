from typing import Any

import pytest

from sqla_oban.engine.signals import MOST_JOBS, Action, CronsChanged, Kill, QueuesChanged, Steer, understood

QUEUE = {"queue": "mail", "ident": "any"}


@pytest.mark.parametrize(
    ("notice", "signal"),
    [
        ({"action": "pause", **QUEUE}, Steer(action=Action.PAUSE, queue="mail", ident="any")),
        ({"action": "resume", "queue": "*", "ident": "Oban.x"}, Steer(action=Action.RESUME, queue="*", ident="Oban.x")),
        ({"action": "scale", "limit": 3, **QUEUE}, Steer(action=Action.SCALE, queue="mail", ident="any", limit=3)),
        (
            {"action": "start", "limit": 3, "paused": True, **QUEUE},
            Steer(action=Action.START, queue="mail", ident="any", limit=3, paused=True),
        ),
        (
            {"action": "start", "local_limit": 4, "refresh": 1, **QUEUE},
            Steer(action=Action.START, queue="mail", ident="any", limit=4),
        ),
        ({"action": "stop", **QUEUE}, Steer(action=Action.STOP, queue="mail", ident="any")),
        ({"action": "pkill", "job_id": 7}, Kill(7, None)),
        ({"action": "pkill", "job_id": 7, "attempt": 2}, Kill(7, 2)),
        ({"action": "queues"}, QueuesChanged(None)),
        ({"action": "queues", "said": {"action": "stop"}}, QueuesChanged({"action": "stop"})),
        ({"action": "queues", "said": 7}, QueuesChanged(None)),
        ({"action": "crons"}, CronsChanged()),
    ],
)
def test_a_signal_is_understood(notice: dict[str, Any], signal: Any) -> None:
    assert understood(notice) == signal


@pytest.mark.parametrize("limit", ["x", "5", 0, -1, 10**9, MOST_JOBS + 1, True, 2.0, [5], {}])
@pytest.mark.parametrize("action", ["scale", "start"])
def test_a_limit_that_is_none_is_ignored(action: str, limit: Any) -> None:
    assert understood({"action": action, "limit": limit, **QUEUE}) is None


@pytest.mark.parametrize(
    "notice",
    [
        {},
        {"action": None},
        {"action": ["pause"], **QUEUE},
        {"action": "explode", **QUEUE},
        {"action": "pause", "queue": "mail"},
        {"action": "pause", "ident": "any"},
        {"action": "pause", "queue": ["mail"], "ident": "any"},
        {"action": "pause", "queue": "", "ident": "any"},
        {"action": "pause", "queue": "q" * 128, "ident": "any"},
        {"action": "pause", "queue": "a\x00b", "ident": "any"},
        {"action": "pause", "queue": "\ud800", "ident": "any"},
        {"action": "pause", "queue": "mail", "ident": 7},
        {"action": "pause", "queue": "mail", "ident": "n" * 10_000},
        {"action": "scale", **QUEUE},
        {"action": "start", "limit": 1, "paused": "yes", **QUEUE},
        {"action": "pkill"},
        {"action": "pkill", "job_id": "7"},
        {"action": "pkill", "job_id": True},
        {"action": "pkill", "job_id": -7},
        {"action": "pkill", "job_id": 2**63},
        {"action": "pkill", "job_id": 7, "attempt": "1"},
    ],
)
def test_what_makes_no_sense_is_ignored(notice: dict[str, Any]) -> None:
    assert understood(notice) is None
