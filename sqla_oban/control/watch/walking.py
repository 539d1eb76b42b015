"""Walking through all jobs, to do something to many of them without one long transaction."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from sqla_oban.queries import browse
from sqla_oban.queries.filters import JobFilter


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the way.

    Attributes:
        ids: of the jobs there that pass the filter, the smallest first.
        last: where the next step begins; None at the end.
    """

    ids: tuple[int, ...]
    last: int | None


def newest(session: Session) -> int:
    """The greatest id that a job has; 0 where there is none."""
    return int(session.scalar(browse.newest()) or 0)


def step(session: Session, wanted: JobFilter, *, after: int, upto: int) -> Step:
    """The next 10,000 jobs by their ids, between two."""
    last, ids = session.execute(browse.step(wanted, after, upto)).one()
    return Step(tuple(ids or ()), last)
