"""Deletes jobs that ended long ago."""

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.failures import concerns_a_row
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.service import Service
from sqla_oban.queries.prune import Ended, aged, prune, surplus
from sqla_oban.settings import PrunerSettings, PruneRule
from sqla_oban.settings.maintenance import in_seconds
from sqla_oban.states import FINAL, JobState
from sqla_oban.telemetry.events import JobsPruned

log = logging.getLogger(__name__)

MOST_KEPT = 1_000
"""Jobs that cannot be deleted in one turn, after which the rest of their state waits for the next."""
REWIND = 600.0
"""Seconds after which jobs that were passed over are looked at again."""
FOREVER = 1e10
"""Seconds; three centuries."""
START = ("-infinity", 0)


@dataclass
class Sweep:
    """What holds for the jobs of one final state, and how far its oldest were looked at.

    Attributes:
        state: which.
        ages: the parameters of `aged`.
        scopes: the parameters of `surplus`, one for each limit.
        cursor: the key behind which jobs were not looked at yet.
        rewound: when it was last at the start.
    """

    state: JobState
    ages: dict[str, Any]
    scopes: list[dict[str, Any]]
    cursor: tuple[str, int] = START
    rewound: float = field(default=-math.inf)


class Pruner(Service):
    """Keeps each final state for its own time; passes over jobs that a table of the user's refers to.

    A state's jobs are looked at from the oldest on, once: those that are kept for longer than others, or cannot be
    deleted, are passed over until the sweep begins anew. So a turn reads about as many rows as it deletes, also where a
    million rows of a queue that is kept for a year are the oldest of all.
    """

    def __init__(self, link: Link, leader: Leader, *, node: str, settings: PrunerSettings) -> None:
        super().__init__(node=node, interval=settings.interval)
        self._link = link
        self._leader = leader
        self._batch = settings.batch
        self._sweeps = [sweep(state, settings) for state in FINAL]
        self._aged = {state: aged(state) for state in FINAL}
        self._surplus = {state: surplus(state) for state in FINAL}
        self._prune = {state: prune(state) for state in FINAL}
        self._deleted = 0

    async def tick(self) -> None:
        """Delete batch after batch, until nothing is left that is old enough or too much."""
        self._deleted = 0
        try:
            for one in self._sweeps:
                await self._prune_aged(one)
                for scope in one.scopes:
                    await self._prune_surplus(one.state, scope)
        finally:  # a turn that fails has deleted what it had come to
            if self._deleted:
                telemetry.emit(JobsPruned(node=self.node, count=self._deleted))

    async def _prune_aged(self, one: Sweep) -> None:
        if time.monotonic() - one.rewound > REWIND:
            one.cursor, one.rewound = START, time.monotonic()
        refused = 0
        passed_over = one.cursor != START
        while one.ages["youngest"] < FOREVER and self._may_go_on(refused):
            at, id_ = one.cursor
            asked = {**one.ages, "after_at": at, "after_id": id_, "batch": self._batch}
            rows = [Ended._make(row) for row in await self._link.execute(self._aged[one.state], asked)]
            old = [row.id for row in rows if row.is_old]
            deleted = await self._delete(one.state, old)
            refused += len(old) - len(deleted)
            passed_over = passed_over or len(deleted) < len(rows)
            if rows:
                one.cursor = (rows[-1].at, rows[-1].id)
            if len(rows) < self._batch:
                break
        if not passed_over:
            one.cursor = START
        self._warn(one.state, refused)

    async def _prune_surplus(self, state: JobState, scope: dict[str, Any]) -> None:
        while self._may_go_on(0):
            asked = {**scope, "batch": self._batch}
            ids = [row[0] for row in await self._link.execute(self._surplus[state], asked)]
            deleted = await self._delete(state, ids)
            self._warn(state, len(ids) - len(deleted))
            if len(ids) < self._batch or len(deleted) < len(ids):
                break

    def _may_go_on(self, refused: int) -> bool:
        return self._leader.is_leader and not self.stopping and refused < MOST_KEPT

    async def _delete(self, state: JobState, ids: list[int]) -> set[int]:
        """Delete `ids`, by halves if one among them cannot be deleted; returns the deleted."""
        if not ids:
            return set()
        try:
            deleted = {row[0] for row in await self._link.execute(self._prune[state], {"ids": ids})}
        except Exception as error:
            if not concerns_a_row(error):
                raise
            if len(ids) == 1:
                return set()
        else:
            self._deleted += len(deleted)
            return deleted
        half = len(ids) // 2
        return await self._delete(state, ids[:half]) | await self._delete(state, ids[half:])

    def _warn(self, state: JobState, refused: int) -> None:
        if refused:
            log.warning(
                "%d %s jobs are to be deleted but locked or referred to by another table; "
                "give its foreign key ON DELETE CASCADE or SET NULL",
                refused,
                state,
            )


def sweep(state: JobState, settings: PrunerSettings) -> Sweep:
    """What the settings say of the jobs that are `state`."""
    rules = [rule for rule in settings.rules if state in rule.states]
    general = settings.seconds().get(state, FOREVER)
    workers = {rule.worker: _age(rule) for rule in rules if rule.worker is not None}
    queues = {rule.queue: _age(rule) for rule in rules if rule.queue is not None}
    named = {"workers": list(workers), "queues": list(queues)}
    limits = [(rule.worker, rule.queue, rule.max_kept) for rule in rules if rule.max_kept is not None]
    if state in settings.max_kept:
        limits.append((None, None, settings.max_kept[state]))
    return Sweep(
        state,
        ages={
            **named,
            "worker_ages": list(workers.values()),
            "queue_ages": list(queues.values()),
            "general": general,
            "youngest": min([general, *workers.values(), *queues.values()]),
        },
        scopes=[{**named, "worker": worker, "queue": queue, "most": most} for worker, queue, most in limits],
    )


def _age(rule: PruneRule) -> float:
    """As a float: psycopg refuses a list of floats with integers among them."""
    return FOREVER if rule.max_age is None else float(in_seconds(rule.max_age))
