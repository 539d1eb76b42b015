"""What there is to do in each queue."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from sqla_oban.control.watch.counting import Count
from sqla_oban.queries import depths as queries
from sqla_oban.queries.count import EXACTLY
from sqla_oban.queries.expressions import JOBS, in_states
from sqla_oban.states import WAITING, JobState


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


def depths(session: Session) -> list[Depth]:
    """What there is to do in each queue that has jobs to do, by its name."""
    counts: dict[str, dict[JobState, Count]] = {}
    lags: dict[str, float] = {}
    for row in session.execute(queries.ready()):
        counts.setdefault(row.queue, {})[JobState.AVAILABLE] = _completed(session, row.queue, row.number)
        lags[row.queue] = max(row.lag or 0.0, 0.0)
    for queue, state, number in _others(session):
        counts.setdefault(queue, {})[state] = number
    return [Depth(queue=queue, counts=counts[queue], lag=lags.get(queue, 0.0)) for queue in sorted(counts)]


def _completed(session: Session, queue: str, number: int) -> Count:
    """A number that was counted, or what the planner says where there were too many to count."""
    if number <= EXACTLY:
        return Count(number)
    return _estimated(session, in_states(JobState.AVAILABLE), JOBS.c.queue == queue)


def _others(session: Session) -> Iterator[tuple[str, JobState, Count]]:
    """Of the states of which there were too many the sample is scaled up to what the planner says of all of them."""
    rows = [(row.queue, JobState(row.state), int(row.number)) for row in session.execute(queries.others())]
    for group in (WAITING, (JobState.EXECUTING,)):
        some = [row for row in rows if row[1] in group]
        total = sum(number for _, _, number in some)
        if total <= EXACTLY:
            yield from ((queue, state, Count(number)) for queue, state, number in some)
            continue
        factor = _estimated(session, in_states(*group)).jobs / total
        yield from ((queue, state, Count(round(number * factor), exact=False)) for queue, state, number in some)


def _estimated(session: Session, *conditions: ColumnElement[bool]) -> Count:
    """Never less than what was counted."""
    plan = session.execute(queries.estimated(*conditions)).scalar_one()
    parsed = json.loads(plan) if isinstance(plan, str) else plan
    return Count(max(int(parsed[0]["Plan"]["Plan Rows"]), EXACTLY + 1), exact=False)
