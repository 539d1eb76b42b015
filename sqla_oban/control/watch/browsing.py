"""Looking through jobs, page by page."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from sqla_oban.errors import InvalidSelection
from sqla_oban.payload import is_storable
from sqla_oban.queries import browse as browsing
from sqla_oban.queries.filters import JobFilter
from sqla_oban.states import JobState

MOST_CURSOR: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """What a list shows of a job.

    Attributes:
        args: as JSON, or None where they are too long for a list.
        error: what the last one says, in one line.
        moments: by the name of the column, in seconds since 1970; those that have come.
        now: when this was read, by the clock of the database.
    """

    id: int
    state: JobState
    queue: str
    worker: str
    attempt: int
    max_attempts: int
    priority: int
    tags: tuple[str, ...]
    node: str | None
    args: str | None
    error: str | None
    moments: Mapping[str, float]
    now: float


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, and where the next page begins.

    Attributes:
        following: the cursor of the next page; None where there is none.
        cut: whether the page ended because it had looked at as much as it may, and not because it is full.
    """

    jobs: tuple[JobSummary, ...]
    following: str | None
    cut: bool = False


def browse(session: Session, wanted: JobFilter, *, cursor: str | None = None, size: int = 30) -> Page:
    """Up to `size` jobs that pass the filter; those of one state in its order, else the newest first.

    Raises:
        InvalidSelection: the cursor is none of those that this filter has led to.
    """
    order = browsing.order_of(wanted)
    after = None if cursor is None else decoded(cursor, len(order.keys))
    rows = session.execute(browsing.page(wanted, after, size + 1)).all()
    jobs = tuple(summary(row) for row in rows[:size])
    if len(rows) > size:
        return Page(jobs, encoded(_keys(rows[size - 1], len(order.keys))))
    if wanted.ids:
        return Page(jobs, None)
    end = session.execute(browsing.end_of_window(wanted, after)).one_or_none()
    return Page(jobs, None) if end is None else Page(jobs, encoded(tuple(end)), cut=True)


def encoded(keys: Sequence[str]) -> str:
    """A cursor, as it stands in an address."""
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode()


def decoded(cursor: str, length: int) -> list[str]:
    """The keys in a cursor, which anybody may have written.

    Raises:
        InvalidSelection: they are none.
    """
    try:
        keys = (
            json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True)) if len(cursor) < MOST_CURSOR else None
        )
    except (ValueError, RecursionError):
        keys = None
    if (
        not isinstance(keys, list)
        or len(keys) != length
        or not all(isinstance(k, str) and is_storable(k) for k in keys)
    ):
        raise InvalidSelection("this link to a page leads nowhere; begin with the first one")
    return keys


def summary(row: Row[Any]) -> JobSummary:
    """A row of `queries.browse.summary`."""
    return JobSummary(
        id=row.id,
        state=JobState(row.state),
        queue=row.queue,
        worker=row.worker,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        priority=row.priority,
        tags=tuple(row.tags or ()),
        node=row.attempted_by[0] if row.attempted_by else None,
        args=row.args,
        error=row.error,
        moments=moments(row),
        now=row.now,
    )


def moments(row: Row[Any]) -> dict[str, float]:
    """The moments of a row that have come."""
    return {name: value for name in browsing.MOMENTS if (value := getattr(row, name)) is not None}


def _keys(row: Row[Any], length: int) -> list[str]:
    return [getattr(row, f"key_{number}") for number in range(length)]
