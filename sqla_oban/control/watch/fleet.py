"""Which nodes and queues there are."""

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from sqla_oban.control.queue_info import number_told
from sqla_oban.control.watch.counting import Count, waiting
from sqla_oban.queries.fleet import FLEET, LEADERS, SAID
from sqla_oban.queries.queues import EVERY_NODE, EVERY_QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A queue that a node runs, as its last beat told.

    Attributes:
        name, node, queue: which.
        limit, running: how many jobs it may run and runs; None where another library does not say.
        paused: whether it claims none.
        ours: whether it is one of this library.
        version: the one that it runs; None where it does not say.
        hearing: whether notifications arrive; if not, it polls.
        ahead: seconds by which its clock was ahead of the database's at its last beat, which takes a moment to get
            there; None where it does not say.
        started_at, beaten_at, now: in seconds since 1970, by the clock of the database.
        alive: whether its last beat still holds.
    """

    name: str
    node: str
    queue: str
    limit: int | None
    running: int | None
    paused: bool
    ours: bool
    version: str | None
    hearing: bool
    ahead: float | None
    started_at: float
    beaten_at: float
    alive: bool
    now: float


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads the runners called `name`; `left` are the seconds that it holds for, below zero if nobody leads."""

    name: str
    node: str
    started_at: float
    left: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """All stations and leases."""

    stations: tuple[Station, ...]
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue over all nodes.

    Attributes:
        queue: its name.
        waiting: how many jobs could be claimed.
        stations: where it runs.
        kept_paused: whether it was said to be paused everywhere, also where it does not run yet.
    """

    queue: str
    waiting: Count
    stations: tuple[Station, ...]
    kept_paused: bool

    @property
    def limit(self) -> int:
        """How many jobs may run, on all nodes together."""
        return sum(one.limit or 0 for one in self.stations)

    @property
    def running(self) -> int:
        """How many jobs run, on all nodes together."""
        return sum(one.running or 0 for one in self.stations)

    @property
    def paused(self) -> int:
        """On how many nodes it is paused."""
        return sum(one.paused for one in self.stations)


def fleet(session: Session) -> Fleet:
    """All nodes of all runners, those that beat no longer as well."""
    stations = tuple(_station(row) for row in session.execute(FLEET))
    return Fleet(stations, tuple(Lease(*row) for row in session.execute(LEADERS)))


def queues(session: Session, *, name: str) -> list[QueueState]:
    """The queues of the runners called `name`, and those in which jobs wait that none of them runs."""
    alive = [one for one in fleet(session).stations if one.alive and one.name == name]
    words = session.execute(SAID, {"of_runners": name}).all()
    paused = {row.queue for row in words if row.node == EVERY_NODE and row.paused}
    resumed = {row.queue for row in words if row.node == EVERY_NODE and row.paused is False}
    counts = waiting(session)
    known = {*(one.queue for one in alive), *counts, *(row.queue for row in words)} - {EVERY_QUEUE}
    return [
        QueueState(
            queue,
            counts.get(queue, Count(0)),
            tuple(one for one in alive if one.queue == queue),
            queue in paused or (EVERY_QUEUE in paused and queue not in resumed),
        )
        for queue in sorted(known)
    ]


def _station(row: Row[Any]) -> Station:
    values = dict(row._mapping)  # noqa: SLF001 (public)
    clock = _clock(values.pop("clock"))
    told = {
        "limit": number_told(row.limit),
        "running": number_told(row.running),
        "paused": bool(row.paused),
        "hearing": row.hearing != "false",
        "ahead": None if clock is None else clock - row.beaten_at,
        "alive": bool(row.alive),
    }
    return Station(**{**values, **told})


def _clock(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
