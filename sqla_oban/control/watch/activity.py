"""What became of jobs in the last while, in buckets of time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from sqla_oban.queries.activity import BACKLOG, CLOCK, FAILING, FINISHED, TAKEN
from sqla_oban.states import FINAL, JobState

OUTCOMES: Final = (*FINAL, JobState.RETRYABLE)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of spans in seconds: the median, and what 95 and 99 of a hundred stay below."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """A span of time.

    Attributes:
        start: in seconds since 1970.
        jobs: how many ended in each way; `retryable` are attempts that failed and will be made again.
        waited, ran: how long completed ones waited after they were due, and ran: of up to a hundred, the newest.
        backlog: how many jobs were waiting at its end; None where it is not known.
        known: whether all that ended in it was read.
    """

    start: float
    jobs: Mapping[JobState, int]
    waited: Percentiles | None
    ran: Percentiles | None
    backlog: int | None
    known: bool


@dataclass(frozen=True, slots=True)
class Activity:
    """The last `span` seconds, in buckets of `width` seconds, the oldest first.

    Attributes:
        now: when this was read, in seconds since 1970, by the clock of the database.
        totals: over all buckets.
        since: what is known begins here; later than the span does where more jobs ended than are read.
    """

    now: float
    span: float
    width: float
    since: float
    buckets: tuple[Bucket, ...]
    totals: Mapping[JobState, int]
    waited: Percentiles | None
    ran: Percentiles | None


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Jobs of one worker that failed with the same words; `newest` is the id of one, `at` when it last failed."""

    worker: str
    line: str
    jobs: int
    discarded: int
    newest: int
    at: float | None


def activity(session: Session, *, span: float, width: float) -> Activity:
    """What became of jobs in the last `span` seconds, in buckets of `width` seconds."""
    now = float(session.scalar(CLOCK) or 0)
    given = {"span": span, "width": width}
    rows = session.execute(FINISHED, given).all()
    totals = {row.outcome: row for row in rows if row.bucket is None}
    since = max([now - span, *(row.oldest for row in totals.values() if row.more)])
    cells = {
        (row.outcome, int(row.bucket)): row.jobs for row in rows if row.bucket is not None and isfinite(row.bucket)
    }
    numbers = range(math.floor((now - span) / width) + 1, math.floor(now / width) + 1)
    taken = {row.bucket: row for row in session.execute(TAKEN, given)}
    depths = _depths(session.execute(BACKLOG, given).all(), numbers, width)
    return Activity(
        now=now,
        span=span,
        width=width,
        since=since,
        buckets=tuple(
            Bucket(
                start=number * width,
                jobs={state: cells.get((state, number), 0) for state in OUTCOMES},
                waited=_percentiles(taken.get(number), "waited"),
                ran=_percentiles(taken.get(number), "ran"),
                backlog=depths[number],
                known=(number + 1) * width > since,
            )
            for number in numbers
        ),
        totals={state: totals[state].jobs if state in totals else 0 for state in OUTCOMES},
        waited=_percentiles(taken.get(None), "waited"),
        ran=_percentiles(taken.get(None), "ran"),
    )


def failing(session: Session) -> list[FailureGroup]:
    """The newest failures, gathered by worker and by what was wrong."""
    return [
        FailureGroup(row.worker, row.line, row.jobs, row.discarded, row.newest, row.at)
        for row in session.execute(FAILING)
    ]


def _depths(rows: Sequence[Row[Any]], numbers: range, width: float) -> dict[int, int | None]:
    """How many jobs waited at the end of each bucket; nothing where too many are in question to be read."""
    if any(row.more for row in rows):
        return dict.fromkeys(numbers)
    oldest = next((row.oldest for row in rows), None) or 0.0
    changes = {int(row.bucket): int(row.change) for row in rows if isfinite(row.bucket)}
    depth = sum(change for bucket, change in changes.items() if bucket < numbers.start)
    found: dict[int, int | None] = {}
    for number in numbers:
        depth += changes.get(number, 0)
        found[number] = max(depth, 0) if (number + 1) * width > oldest else None
    return found


def _percentiles(row: Row[Any] | None, name: str) -> Percentiles | None:
    values = None if row is None else getattr(row, name)
    return None if values is None or None in values else Percentiles(*values)
