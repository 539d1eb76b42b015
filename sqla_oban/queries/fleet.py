"""Which nodes there are, and who leads them."""

from typing import Any, Final

from sqlalchemy import Select, Text, cast, func, select

from sqla_oban.queries.browse import epoch
from sqla_oban.queries.expressions import PEERS, PRODUCERS, QUEUES, constant, now
from sqla_oban.queries.producers import expired
from sqla_oban.queries.queues import NAME

MOST: Final = 2_000
"""Producers that are shown."""


def producers() -> Select[Any]:
    """The queues of all nodes, those that beat no longer as well; numbers as text, for anybody may write them."""
    meta = PRODUCERS.c.meta
    return (
        select(
            *(PRODUCERS.c.name, PRODUCERS.c.node, PRODUCERS.c.queue),
            meta.op("->>", return_type=Text())(constant("local_limit")).label("limit"),
            meta.op("->>", return_type=Text())(constant("running")).label("running"),
            (meta.op("->>")(constant("paused")) == constant("true")).label("paused"),
            func.coalesce(meta.has_key("ttl"), False).label("ours"),
            *(meta.op("->>", return_type=Text())(constant(key)).label(key) for key in ("version", "hearing", "clock")),
            epoch(PRODUCERS.c.started_at).label("started_at"),
            epoch(PRODUCERS.c.updated_at).label("beaten_at"),
            (~expired()).label("alive"),
            epoch(now()).label("now"),
        )
        .order_by(PRODUCERS.c.name, PRODUCERS.c.node, PRODUCERS.c.queue)
        .limit(MOST)
    )


def leaders() -> Select[Any]:
    """Who leads, by name, since when and for how many seconds more."""
    return select(
        *(PEERS.c.name, PEERS.c.node),
        epoch(PEERS.c.started_at).label("started_at"),
        (epoch(PEERS.c.expires_at) - epoch(now())).label("left"),
    ).order_by(PEERS.c.name)


def said() -> Select[Any]:
    """What operators have said of the queues of the runners `of_runners`, kept for nodes to come."""
    return (
        select(QUEUES.c.queue, QUEUES.c.node, QUEUES.c.running, QUEUES.c.paused, QUEUES.c.local_limit)
        .where(cast(QUEUES.c.name, Text) == NAME)
        .order_by(QUEUES.c.queue, QUEUES.c.node)
        .limit(MOST)
    )


FLEET, LEADERS, SAID = producers(), leaders(), said()
