"""Run jobs one after the other, by the statements and the executor of a runner."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from sqlalchemy import ColumnElement, Text, cast, select
from sqlalchemy.orm import Session, class_mapper

from sqla_oban.errors import EndlessJobs
from sqla_oban.models import Job
from sqla_oban.queries.ack import ACK, Ack, parameters
from sqla_oban.queries.claim import CLAIM, Claimed, Key, behind
from sqla_oban.queries.expressions import JOBS
from sqla_oban.queries.hasten import hasten
from sqla_oban.states import JobState
from sqla_oban.testing.target import Ground
from sqla_oban.testing.witness import HOLDER, witness

MOST = 1_000
"""Jobs after which a drain without a limit gives up: jobs that enqueue jobs never end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How many jobs ended in which state.

    Args:
        completed, discarded, cancelled: those that have ended.
        retryable: those that failed and will be tried again.
        scheduled: those that snoozed.
        ids: all that ran, in this order; not compared.

    >>> assert await drain(session) == Drained(completed=2)  # doctest: +SKIP
    """

    completed: int = 0
    retryable: int = 0
    discarded: int = 0
    cancelled: int = 0
    scheduled: int = 0
    ids: tuple[int, ...] = field(default=(), compare=False)


class Turn(NamedTuple):
    """A claimed job and its queue."""

    queue: str
    claimed: Claimed


class Turns:
    """Runs jobs one after the other through the statements and the executor of a runner, each at most once.

    Args:
        ground: where the statements run.
        which: the jobs to run, among those that are available or wait.
        safely: whether to go on after a failure, rather than raise it.
        limit: how many to run at most; None for as many as there are.
    """

    def __init__(self, ground: Ground, which: ColumnElement[bool], *, safely: bool, limit: int | None) -> None:
        self._ground = ground
        self._which = which
        self._safely = safely
        self._limit = limit
        self._ran: dict[int, JobState | None] = {}

    async def run(self) -> Drained:
        """Run them; a job that is gone afterwards, because it deleted itself, is not counted."""
        while (self._limit is None or len(self._ran) < self._limit) and (turn := await self._ground.run(self._take)):
            await self._perform(turn)
        counts = Counter(state.value for state in self._ran.values() if state is not None)
        return Drained(**counts, ids=tuple(self._ran))

    def _take(self, session: Session) -> Turn | None:
        session.flush()
        next_one = session.execute(hasten(self._which & JOBS.c.id.not_in(list(self._ran)))).one_or_none()
        if next_one is None:
            return None
        if self._limit is None and len(self._ran) >= MOST:
            raise EndlessJobs(
                f"{MOST:,} jobs ran and there is yet another, {next_one.id}: jobs that enqueue jobs never end; "
                "give drain() a limit"
            )
        before = Key(next_one.priority, next_one.scheduled_at, next_one.id - 1)
        asked = {"of_queue": next_one.queue, "demand": 1, "holder": HOLDER, **behind(before)}
        claimed = Claimed._make(session.execute(CLAIM, asked).one())
        _refresh(session, claimed.id)
        return Turn(next_one.queue, claimed)

    async def _perform(self, turn: Turn) -> None:
        claimed = turn.claimed
        if claimed.state == JobState.DISCARDED:  # by the claim: it had no attempt left
            self._ran[claimed.id] = JobState.DISCARDED
            return
        seen = await witness(claimed, turn.queue, self._ground.provider)
        try:
            self._ran[claimed.id] = await self._ground.run(partial(_write, id=claimed.id, ack=seen.ack))
        finally:  # what a worker breaks in a shared transaction may keep its outcome from being written
            if seen.error is not None and not (self._safely and isinstance(seen.error, Exception)):
                raise seen.error


def _write(session: Session, id: int, ack: Ack | None) -> JobState | None:
    """What the job is now, which need not be what it was to become: it may have been cancelled or deleted meanwhile."""
    session.flush()
    if ack is not None:
        session.execute(ACK, parameters([ack]))
    _refresh(session, id)
    state = session.scalar(select(cast(JOBS.c.state, Text)).where(JOBS.c.id == id))
    return None if state is None else JobState(state)


def _refresh(session: Session, id: int) -> None:
    """Let the test see what became of a job that its session has loaded."""
    if class_mapper(Job).identity_key_from_primary_key((id,)) in session.identity_map:
        session.get(Job, id, populate_existing=True)
