"""What is available, without reading all of it.

Available jobs lie in two indexes: those of a queue whose limits divide it into partitions in one of their own, the
others in that of the claim. A question that names neither part reads the table, so every question here asks both.
"""

from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, ScalarSelect, Select, func, literal_column, select, union_all

from sqla_oban.queries.expressions import JOBS, in_states
from sqla_oban.states import JobState

LANES: Final = tuple(
    in_states(JobState.AVAILABLE) & lane for lane in (JOBS.c.partition.is_(None), JOBS.c.partition.is_not(None))
)
"""The two parts, as the predicates of the indexes say it."""
ONE: ColumnElement[int] = literal_column("1")


def queues_with_work() -> CTE:
    """The names of the queues in which jobs are available, in order, and NULL at the end.

    From one queue to the next by the indexes, so that no queue's backlog is read as a whole.
    """
    names = select(_first().label("queue")).cte("names", recursive=True)
    return names.union_all(select(_first(JOBS.c.queue > names.c.queue)).where(names.c.queue.is_not(None)))


def ready(queue: ColumnElement[str], most: int) -> ScalarSelect[int]:
    """How many jobs are available in `queue`, of the rows of another table; at most `most`."""
    lanes: list[Select[Any]] = [
        select(ONE).select_from(JOBS).where(lane, JOBS.c.queue == queue).limit(most).correlate(queue.table)
        for lane in LANES
    ]
    some = union_all(*lanes).limit(most).subquery("some")
    return select(func.count()).select_from(some).scalar_subquery()


def _first(*conditions: ColumnElement[bool]) -> ColumnElement[Any]:
    """The first queue with an available job; `least` passes over NULL."""
    return func.least(*(select(func.min(JOBS.c.queue)).where(lane, *conditions).scalar_subquery() for lane in LANES))
