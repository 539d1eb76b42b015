"""How many jobs there are."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session

from sqla_oban.queries.browse import share
from sqla_oban.queries.count import ESTIMATES, EXACTLY, WAITING, WAITING_BY_QUEUE, counts
from sqla_oban.queries.filters import JobFilter
from sqla_oban.states import WAITING as FOR_THEIR_TIME
from sqla_oban.states import JobState


@dataclass(frozen=True, slots=True)
class Count:
    """A number of jobs.

    Attributes:
        jobs: how many.
        exact: whether they were counted; else it is PostgreSQL's estimate, or what counting stopped at.
    """

    jobs: int
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.jobs:,}" if self.exact else f"about {self.jobs:,}"


def count(session: Session) -> dict[JobState, Count]:
    """How many jobs are in each state: counted up to 50,000, estimated above."""
    believed = _believed(session)
    many = {state for state, jobs in believed.items() if jobs > EXACTLY}
    if many & set(FOR_THEIR_TIME):  # these share an index, in which the few would be counted among the many
        many.add(JobState.SCHEDULED)
    counted = session.execute(_counts(frozenset(JobState) - many)).mappings().one() if many != set(JobState) else {}
    found = {state: _judged(counted[state], believed.get(state, 0)) for state in JobState if state in counted}
    return {state: found.get(state) or Count(believed.get(state, 0), exact=False) for state in JobState}


def matching(session: Session, wanted: JobFilter) -> Count:
    """How many jobs pass the filter.

    The first 50,000 of each state that it names are looked at, or of all jobs if it names none; where there are more,
    it is assumed that as many of the others pass.
    """
    believed = _believed(session)
    found, exact = 0, True
    for state in wanted.states or (None,):
        looked, passing = session.execute(share(state, replace(wanted, states=()), EXACTLY)).one()
        if looked > EXACTLY:
            exact = False
            there = sum(believed.values()) if state is None else believed.get(state, 0)
            passing = round(passing * max(there / looked, 1.0))
        found += passing
    return Count(found, exact)


def waiting(session: Session) -> dict[str, Count]:
    """How many jobs wait in each queue, up to 5,000; of the first hundred queues in which any do."""
    return {
        queue: Count(min(jobs, WAITING), exact=jobs <= WAITING) for queue, jobs in session.execute(WAITING_BY_QUEUE)
    }


def _believed(session: Session) -> dict[JobState, int]:
    return {JobState(state): int(jobs) for state, jobs in session.execute(ESTIMATES) if state in set(JobState)}


def _judged(counted: int, believed: int) -> Count:
    return Count(counted) if counted <= EXACTLY else Count(max(counted, believed), exact=False)


@lru_cache(maxsize=64)
def _counts(states: frozenset[JobState]) -> Select[Any]:
    return counts(sorted(states))
