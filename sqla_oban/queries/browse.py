"""Look through the jobs of a state, a page at a time, however many there are.

Every state has an index that holds its jobs in some order, and that is the order in which they are shown. A page begins
behind the last job of the page before (a keyset, not an offset) and looks at no more than `WINDOW` entries, whatever
the filter: one that matches nothing costs as much in a table of ten million jobs as in one of `WINDOW`. A page that is
not full although the index goes on says where the next one begins.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    Subquery,
    Text,
    case,
    cast,
    extract,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)

from sqla_oban.queries.available import LANES
from sqla_oban.queries.expressions import JOBS, constant, in_states, now
from sqla_oban.queries.filters import JobFilter, conditions
from sqla_oban.states import JobState

WINDOW: Final = 20_000
"""Entries of an index that one page looks at."""

EXCERPT: Final = 8_192
"""Bytes up to which the arguments of a job are shown in a list."""

MOMENTS: Final = ("inserted_at", "scheduled_at", "attempted_at", "completed_at", "discarded_at", "cancelled_at")


@dataclass(frozen=True, slots=True)
class Order:
    """How the jobs of a state lie in an index: its columns, which way they are read, and the index's own predicate.

    Available jobs lie in two. The second is in another order, so it is sorted: the price of looking through a backlog
    that is divided into partitions.
    """

    keys: tuple[str, ...]
    descending: bool
    among: tuple[ColumnElement[bool], ...]


def _ended(state: JobState) -> Order:
    moment = f"{state}_at"
    return Order((moment, "id"), descending=True, among=(in_states(state) & JOBS.c[moment].isnot(None),))


BY_ID: Final = Order(("id",), descending=True, among=(true(),))
ORDERS: Final[Mapping[JobState | None, Order]] = {
    None: BY_ID,
    JobState.AVAILABLE: Order(("queue", "priority", "scheduled_at", "id"), descending=False, among=LANES),
    JobState.SCHEDULED: Order(
        ("scheduled_at", "id"), descending=False, among=(in_states(JobState.SCHEDULED, JobState.RETRYABLE),)
    ),
    JobState.EXECUTING: Order(("attempted_at", "id"), descending=False, among=(in_states(JobState.EXECUTING),)),
    **{
        state: Order(("scheduled_at", "id"), descending=False, among=(in_states(state),))
        for state in (JobState.RETRYABLE, JobState.SUSPENDED)
    },
    **{state: _ended(state) for state in (JobState.COMPLETED, JobState.DISCARDED, JobState.CANCELLED)},
}
"""In available, what is claimed first comes first, queue by queue; of what has ended, the newest."""


def order_of(state: JobState | None, wanted: JobFilter) -> Order:
    """In which order jobs are shown; those that are named by their ids are found by these."""
    return BY_ID if wanted.ids else ORDERS[state]


def page(state: JobState | None, wanted: JobFilter, after: Sequence[str] | None, size: int) -> Select[Any]:
    """Up to `size` jobs behind the keys `after`, each given as text, with their own keys."""
    order = order_of(state, wanted)
    seen = _window(order, wanted, after).subquery("seen")
    shown = [*conditions(wanted, seen.c), *([] if state is None else [seen.c.state == _state(state)])]
    keys = [cast(seen.c[key], Text).label(f"key_{number}") for number, key in enumerate(order.keys)]
    return select(*summary(seen), *keys).where(*shown).order_by(*_sorted(order, seen)).limit(size)


def end_of_window(state: JobState | None, wanted: JobFilter, after: Sequence[str] | None) -> Select[Any]:
    """The keys of the last entry that `page` looked at, as text; no row if it has seen the end of the index."""
    order = order_of(state, wanted)
    window = _window(order, wanted, after).subquery("seen")
    keys: list[Any] = [cast(window.c[key], Text) for key in order.keys]
    last: Select[Any] = select(*keys).order_by(*_sorted(order, window)).offset(WINDOW - 1).limit(1)
    return last


def summary(jobs: Subquery) -> list[ColumnElement[Any]]:
    """What a list shows of a job; moments in seconds since 1970, because PostgreSQL's may be none of Python's."""
    small = func.pg_column_size(jobs.c.args) <= literal(EXCERPT)
    error = func.left(jobs.c.errors.op("->")(-1).op("->>", return_type=Text())(constant("error")), literal(400))
    array = func.jsonb_typeof(func.to_jsonb(jobs.c.errors)) == constant("array")
    return [
        *(jobs.c.id, cast(jobs.c.state, Text).label("state"), jobs.c.queue, jobs.c.worker),
        *(jobs.c.attempt, jobs.c.max_attempts, jobs.c.priority, jobs.c.tags, jobs.c.attempted_by),
        case((small, cast(jobs.c.args, Text))).label("args"),
        case((array, error)).label("error"),
        *(epoch(jobs.c[moment]).label(moment) for moment in MOMENTS),
        epoch(now()).label("now"),
    ]


def epoch(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Seconds since 1970."""
    return cast(extract("epoch", moment), Float(53))


def _window(order: Order, wanted: JobFilter, after: Sequence[str] | None) -> Select[Any]:
    """Entries of the index, in its order: raw columns, because what is computed here is computed for all of them."""
    most: ColumnElement[int] = literal_column(str(WINDOW))
    parts = [
        select(*JOBS.c).where(among, *_behind(order, wanted, after)).order_by(*_sorted(order, JOBS)).limit(most)
        for among in order.among
    ]
    if len(parts) == 1:
        return parts[0]
    both = union_all(*parts).subquery("both")
    return select(both).order_by(*_sorted(order, both)).limit(most)


def _behind(order: Order, wanted: JobFilter, after: Sequence[str] | None) -> Iterator[ColumnElement[bool]]:
    if wanted.ids:
        yield JOBS.c.id.in_(wanted.ids)
    elif order.keys[0] == "queue" and len(wanted.queues) == 1:
        yield JOBS.c.queue == wanted.queues[0]
    if after is None:
        return
    keys = tuple_(*(JOBS.c[key] for key in order.keys))
    given = tuple_(
        *(cast(literal(value, Text), JOBS.c[key].type) for key, value in zip(order.keys, after, strict=True))
    )
    yield keys < given if order.descending else keys > given


def _sorted(order: Order, table: Any) -> list[ColumnElement[Any]]:
    return [table.c[key].desc() if order.descending else table.c[key] for key in order.keys]


def _state(state: JobState) -> ColumnElement[Any]:
    return cast(constant(state), JOBS.c.state.type)
