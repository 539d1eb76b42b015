"""One job, with all that is stored of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from sqla_oban.control.selection import LARGEST
from sqla_oban.control.watch.browsing import moments
from sqla_oban.outcomes import RESULT
from sqla_oban.queries.headline import headline
from sqla_oban.queries.show import CRON_RUNS, RUNS_OF_WORKER, SHOW
from sqla_oban.states import JobState


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON value as it is stored: its text, or the beginning of it.

    Attributes:
        length: characters that it has.
    """

    text: str
    length: int

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return len(self.text) == self.length

    def value(self) -> Any:
        """What it is to Python.

        Raises:
            ValueError: it is not whole, or holds what Python reads not, as a number of 5,000 digits.
        """
        if not self.is_whole:
            raise ValueError(f"{self.length:,} characters are too many to be read here")
        try:
            return json.loads(self.text)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Failure:
    """One error of a job: when, in which attempt, and what was said; as far as it is written as Oban writes it."""

    at: str
    attempt: str
    text: str

    @property
    def headline(self) -> str:
        """What was wrong, in one line."""
        return headline(self.text)


@dataclass(frozen=True, slots=True)
class Run:
    """A job as one of many; `ran` are the seconds that it took."""

    id: int
    state: JobState
    ran: float | None = None
    attempted_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """All that is stored of a job; moments in seconds since 1970."""

    id: int
    state: JobState
    queue: str
    worker: str
    attempt: int
    max_attempts: int
    priority: int
    tags: tuple[str, ...]
    attempted_by: tuple[str, ...]
    unique_key: str | None
    cancel_requested: bool
    args: Document
    meta: Document
    errors: Document
    moments: Mapping[str, float]
    now: float

    @property
    def failures(self) -> list[Failure]:
        """Its errors, the last one first; one whose text cannot be read as a list is shown as that text."""
        try:
            entries = self.errors.value()
        except ValueError:
            entries = self.errors.text
        found = entries if isinstance(entries, list) else [entries]
        return [_failure(one) for one in reversed(found)]

    @property
    def has_result(self) -> bool:
        """Whether its worker has recorded something."""
        return f'"{RESULT}"' in self.meta.text


def show(session: Session, id: int) -> JobDetails | None:
    """The job, or None if there is none of that id."""
    if not 0 < id <= LARGEST:
        return None
    row = session.execute(SHOW, {"id": id}).one_or_none()
    return None if row is None else _details(row)


def runs_of(session: Session, worker: str) -> list[Run]:
    """The newest jobs of a worker that have ended, oldest first, among the newest jobs of all."""
    rows = session.execute(RUNS_OF_WORKER, {"worker": worker}).all()
    return [Run(row.id, JobState(row.state), row.ran, row.attempted_at) for row in reversed(rows)]


def runs_of_crons(session: Session) -> dict[str, list[Run]]:
    """The newest jobs of each entry of the crontab, oldest first, among the newest jobs of all."""
    found: dict[str, list[Run]] = {}
    for row in session.execute(CRON_RUNS):
        found.setdefault(row.name, []).append(Run(row.id, JobState(row.state)))
    return found


def _details(row: Row[Any]) -> JobDetails:
    return JobDetails(
        id=row.id,
        state=JobState(row.state),
        queue=row.queue,
        worker=row.worker,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        priority=row.priority,
        tags=tuple(row.tags or ()),
        attempted_by=tuple(row.attempted_by or ()),
        unique_key=row.unique_key,
        cancel_requested=bool(row.cancel_requested),
        args=Document(row.args, row.args_length),
        meta=Document(row.meta, row.meta_length),
        errors=Document(row.errors, row.errors_length),
        moments=moments(row),
        now=row.now,
    )


def _failure(entry: object) -> Failure:
    if not isinstance(entry, dict):
        return Failure("", "", str(entry))
    return Failure(*(str(entry.get(key, "")) for key in ("at", "attempt", "error")))
