"""Looking at jobs: a page of them, how many there are, what waits in each queue."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from sqla_oban.errors import InvalidSelection, shown
from sqla_oban.payload import is_storable
from sqla_oban.queries import listing
from sqla_oban.queries.expressions import JOBS, in_states
from sqla_oban.states import WAITING, JobState

MOST_LISTED = 1_000
"""Jobs on a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are meant: those that fulfil every condition that is given.

    Args:
        states: in one of these.
        queues, workers: of one of these.
        tags: with all of these.
        node: that runs them, or ran them last.
        priority: of this one.
        args: with these among their arguments.

    >>> JobFilter(states=(JobState.RETRYABLE,), queues=("mailers",)).is_empty
    False
    """

    states: tuple[JobState, ...] = ()
    queues: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    node: str | None = None
    priority: int | None = None
    args: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for text in (*self.queues, *self.workers, *self.tags, self.node or "", json.dumps(self.args)):
            if not is_storable(text):
                raise InvalidSelection(f"no job can have {shown(text)}, which PostgreSQL does not store")

    @property
    def is_empty(self) -> bool:
        """Whether every job is meant."""
        return self == JobFilter()

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a job has to fulfil."""
        said: list[ColumnElement[bool]] = []
        if self.states:
            said.append(in_states(*self.states))
        for column, values in ((JOBS.c.queue, self.queues), (JOBS.c.worker, self.workers)):
            if values:
                said.append(column == values[0] if len(values) == 1 else column.in_(values))
        if self.tags:
            said.append(JOBS.c.tags.contains(list(self.tags)))
        if self.node is not None:
            said.append(JOBS.c.attempted_by[1] == self.node)
        if self.priority is not None:
            said.append(JOBS.c.priority == self.priority)
        if self.args is not None:
            said.append(type_coerce(JOBS.c.args, JSONB).contains(type_coerce(self.args, JSONB)))
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job in a list. Moments are ISO 8601 in UTC, as text; `args` are JSON, cut after 200 characters."""

    id: int
    state: JobState
    queue: str
    worker: str
    attempt: int
    max_attempts: int
    priority: int
    tags: tuple[str, ...]
    node: str | None
    args: str
    inserted_at: str
    scheduled_at: str
    attempted_at: str | None
    ended_at: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many; beyond 50,000 an estimate of the planner's, which is not `exact`."""

    number: int
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.number:,}" if self.exact else f"about {self.number:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """What there is to do in a queue.

    Attributes:
        queue: its name.
        counts: its jobs that are available, scheduled, retryable or executing; other states are not counted.
        lag: seconds for which the oldest available job has been due; 0 where there is none.
    """

    queue: str
    counts: dict[JobState, Count]
    lag: float

    def count(self, state: JobState) -> Count:
        """How many of its jobs are in `state`."""
        return self.counts.get(state, Count(0))


def page(session: Session, which: JobFilter, *, before: int | None = None, limit: int = 50) -> list[JobSummary]:
    """The newest jobs that are meant, of those with a smaller id than `before`."""
    if not 0 < limit <= MOST_LISTED:
        raise InvalidSelection(f"a page has 1 to {MOST_LISTED:,} jobs, not {limit}")
    session.execute(listing.HURRY)
    rows = session.execute(listing.page(which.conditions(), before=before, limit=limit)).mappings()
    return [JobSummary(**{**row, "state": JobState(row["state"]), "tags": tuple(row["tags"])}) for row in rows]


def count(session: Session, which: JobFilter) -> Count:
    """How many jobs are meant."""
    session.execute(listing.HURRY)
    return _counted(session, which.conditions())


def newest(session: Session) -> int:
    """The greatest id that a job has."""
    return int(session.scalar(listing.newest()) or 0)


def ids(session: Session, which: JobFilter, *, after: int, upto: int, limit: int) -> list[int]:
    """The ids of the jobs that are meant between two others, the smallest first."""
    return list(session.scalars(listing.ids(which.conditions(), after=after, upto=upto, limit=limit)))


def depths(session: Session) -> list[Depth]:
    """What there is to do in each queue that has jobs to do, by its name."""
    session.execute(listing.HURRY)
    counts: dict[str, dict[JobState, Count]] = {}
    lags: dict[str, float] = {}
    for row in session.execute(listing.ready()):
        counts.setdefault(row.queue, {})[JobState.AVAILABLE] = _completed(session, row.queue, row.number)
        lags[row.queue] = max(row.lag or 0.0, 0.0)
    for queue, state, number in _others(session):
        counts.setdefault(queue, {})[state] = number
    return [Depth(queue=queue, counts=counts[queue], lag=lags.get(queue, 0.0)) for queue in sorted(counts)]


def _completed(session: Session, queue: str, number: int) -> Count:
    """A number that was counted, or what the planner says where there were too many to count."""
    if number <= listing.MOST_COUNTED:
        return Count(number)
    return _estimated(session, JobFilter(states=(JobState.AVAILABLE,), queues=(queue,)).conditions())


def _others(session: Session) -> Iterator[tuple[str, JobState, Count]]:
    """Of the states of which there were too many the sample is scaled up to what the planner says of all of them."""
    rows = [(row.queue, JobState(row.state), int(row.number)) for row in session.execute(listing.others())]
    for group in (WAITING, (JobState.EXECUTING,)):
        some = [row for row in rows if row[1] in group]
        total = sum(number for _, _, number in some)
        if total <= listing.MOST_COUNTED:
            yield from ((queue, state, Count(number)) for queue, state, number in some)
            continue
        factor = _estimated(session, [in_states(*group)]).number / total
        yield from ((queue, state, Count(round(number * factor), exact=False)) for queue, state, number in some)


def _counted(session: Session, conditions: list[ColumnElement[bool]]) -> Count:
    number = int(session.scalar(listing.counted(conditions)) or 0)
    return Count(number) if number <= listing.MOST_COUNTED else _estimated(session, conditions)


def _estimated(session: Session, conditions: list[ColumnElement[bool]]) -> Count:
    """Never less than what was counted."""
    plan = session.execute(listing.estimated(conditions)).scalar_one()
    parsed = json.loads(plan) if isinstance(plan, str) else plan
    return Count(max(int(parsed[0]["Plan"]["Plan Rows"]), listing.MOST_COUNTED + 1), exact=False)
