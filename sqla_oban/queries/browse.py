"""Look through the jobs of a state, a page at a time, however many there are.

Every state has an index that holds its jobs in some order, and that is the order in which they are shown. A page begins
behind the last job of the page before (a keyset, not an offset) and looks at no more than `WINDOW` entries, whatever
the filter: one that matches nothing costs as much in a table of ten million jobs as in one of `WINDOW`. A page that is
not full although the index goes on says where the next one begins.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    FromClause,
    Select,
    Subquery,
    Text,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from sqla_oban.queries.available import LANES
from sqla_oban.queries.expressions import JOBS, constant, in_states, now
from sqla_oban.queries.filters import JobFilter, columns_of, conditions
from sqla_oban.queries.headline import headline_of
from sqla_oban.states import JobState

WINDOW: Final = 10_000
"""Entries of an index that one page looks at."""

EXCERPT: Final = 8_192
"""Bytes up to which the arguments of a job are shown in a list."""

MOMENTS: Final = ("inserted_at", "scheduled_at", "attempted_at", "completed_at", "discarded_at", "cancelled_at")


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of an index: its own predicate, and the columns by which they lie there."""

    among: ColumnElement[bool]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """How jobs are shown: by which columns, which way, and the indexes in which they lie in that order.

    A column that an index has not is NULL in all of its entries; it counts as an empty text, so these come first.

    Attributes:
        mixed: whether jobs of other states are among the entries.
    """

    keys: tuple[str, ...]
    descending: bool
    parts: tuple[Part, ...]
    mixed: bool = False


def _by(*keys: str, among: ColumnElement[bool], descending: bool = False, mixed: bool = False) -> Order:
    return Order(keys, descending, (Part(among, keys),), mixed)


def _ended(state: JobState) -> Order:
    moment = f"{state}_at"
    return _by(moment, "id", among=in_states(state) & JOBS.c[moment].isnot(None), descending=True)


def _available() -> Order:
    """In the order of the claim, queue by queue; where limits divide a queue, partition by partition."""
    keys, (whole, parted) = ("queue", "partition", "priority", "scheduled_at", "id"), LANES
    return Order(keys, False, (Part(whole, tuple(key for key in keys if key != "partition")), Part(parted, keys)))


BY_ID: Final = _by("id", among=true(), descending=True, mixed=True)
ORDERS: Final[Mapping[JobState, Order]] = {
    JobState.AVAILABLE: _available(),
    JobState.SCHEDULED: _by("scheduled_at", "id", among=in_states(JobState.SCHEDULED, JobState.RETRYABLE), mixed=True),
    JobState.EXECUTING: _by("attempted_at", "id", among=in_states(JobState.EXECUTING)),
    **{state: _by("scheduled_at", "id", among=in_states(state)) for state in (JobState.RETRYABLE, JobState.SUSPENDED)},
    **{state: _ended(state) for state in (JobState.COMPLETED, JobState.DISCARDED, JobState.CANCELLED)},
}
"""What is claimed, due or ends first comes first; of what has ended, the newest."""


def order_of(wanted: JobFilter) -> Order:
    """In which order jobs are shown: that of their state, if it is one; those named by their ids are found by these."""
    return ORDERS[wanted.states[0]] if len(wanted.states) == 1 and not wanted.ids else BY_ID


def page(wanted: JobFilter, after: Sequence[str] | None, size: int) -> Select[Any]:
    """Up to `size` jobs behind the keys `after`, each given as text, with their own keys.

    What is looked through are a few columns; only of the jobs that are shown the whole row is read.
    """
    order = order_of(wanted)
    left = _left(wanted, order)
    seen = _window(order, wanted, after, columns_of(left), size if left.is_empty else WINDOW).subquery("seen")
    keys = (seen.c[key] for key in order.keys)
    shown = select(*keys).where(*conditions(left, seen.c)).order_by(*_sorted(order, seen))
    found = shown.limit(_most(size)).subquery("found")
    told: list[ColumnElement[Any]] = [*summary(JOBS), *_texts(order, found)]
    listed: Select[Any] = select(*told)
    return listed.join_from(found, JOBS, JOBS.c.id == found.c.id).order_by(*_sorted(order, found))


def end_of_window(wanted: JobFilter, after: Sequence[str] | None) -> Select[Any]:
    """The keys of the last entry that `page` looked at, as text; no row if it has seen the end of the index."""
    order = order_of(wanted)
    window = _window(order, wanted, after, (), WINDOW).subquery("seen")
    last: list[ColumnElement[Any]] = [*_texts(order, window)]
    return select(*last).order_by(*_sorted(order, window)).offset(WINDOW - 1).limit(1)


def share(state: JobState | None, wanted: JobFilter, most: int) -> Select[Any]:
    """Of the first `most` jobs of a state, or of all, and one: how many there are, and how many pass the filter."""
    among = LANES if state is JobState.AVAILABLE else [true() if state is None else in_states(state)]
    names = dict.fromkeys(("id", *columns_of(wanted)))
    parts = [select(*(JOBS.c[name] for name in names)).where(one).limit(_most(most + 1)) for one in among]
    seen = (parts[0] if len(parts) == 1 else union_all(*parts).limit(_most(most + 1))).subquery("seen")
    passing = func.count().filter(*conditions(wanted, seen.c)) if not wanted.is_empty else func.count()
    told: list[ColumnElement[Any]] = [func.count().label("looked"), passing.label("passing")]
    return select(*told).select_from(seen)


def step(wanted: JobFilter, after: int, upto: int) -> Select[Any]:
    """Of the next jobs by their ids, `WINDOW` of them at the most: the last one's id, and the ids that pass the filter.

    By ids, because jobs change their states meanwhile, and would be passed over by a walk through the states.
    """
    names = ("id", *columns_of(wanted))
    seen = (
        select(*(JOBS.c[name] for name in dict.fromkeys(names)))
        .where(JOBS.c.id > after, JOBS.c.id <= upto)
        .order_by(JOBS.c.id)
        .limit(_most(WINDOW))
        .subquery("seen")
    )
    ids = func.array_agg(aggregate_order_by(seen.c.id, seen.c.id))
    passing = conditions(wanted, seen.c)
    told: list[ColumnElement[Any]] = [func.max(seen.c.id).label("last"), ids.filter(*passing) if passing else ids]
    return select(*told)


def newest() -> Select[Any]:
    """The greatest id there is; NULL where there is no job."""
    return select(func.max(JOBS.c.id))


def summary(jobs: FromClause) -> list[ColumnElement[Any]]:
    """What a list shows of a job; moments in seconds since 1970, because PostgreSQL's may be none of Python's."""
    small = func.pg_column_size(jobs.c.args) <= literal(EXCERPT)
    error = headline_of(last_error(jobs))
    return [
        *(jobs.c.id, cast(jobs.c.state, Text).label("state"), jobs.c.queue, jobs.c.worker),
        *(jobs.c.attempt, jobs.c.max_attempts, jobs.c.priority, jobs.c.tags, jobs.c.attempted_by),
        case((small, cast(jobs.c.args, Text))).label("args"),
        error.label("error"),
        *(epoch(jobs.c[moment]).label(moment) for moment in MOMENTS),
        epoch(now()).label("now"),
    ]


def last_error(jobs: FromClause) -> ColumnElement[str]:
    """The text of a job's last error; NULL where there is none."""
    told = jobs.c.errors.op("->")(-1).op("->>", return_type=Text())(constant("error"))
    return case((lists_errors(jobs), told))


def lists_errors(jobs: FromClause) -> ColumnElement[bool]:
    """Whether `errors` of a job is a list, as Oban writes it."""
    return func.jsonb_typeof(func.to_jsonb(jobs.c.errors)) == constant("array")


def epoch(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Seconds since 1970; `extract` would tell them as a number of any length, which takes several times as long."""
    return func.date_part(constant("epoch"), moment, type_=Float(53))


def _window(
    order: Order, wanted: JobFilter, after: Sequence[str] | None, columns: Iterable[str], size: int
) -> Select[Any]:
    """The next `size` entries of the indexes, in their order: their keys and the `columns`, raw, for there are many."""
    names = dict.fromkeys((*order.keys, *columns))
    parts = [
        select(*(_column(name, order, part) for name in names))
        .where(part.among, *_narrowed(order, wanted), *_behind(order, part, after))
        .order_by(*_sorted(order, JOBS, part.keys))
        .limit(_most(size))
        for part in order.parts
    ]
    if len(parts) == 1:
        return parts[0]
    both = union_all(*parts).subquery("both")
    return select(both).order_by(*_sorted(order, both)).limit(_most(size))


def _column(name: str, order: Order, part: Part) -> ColumnElement[Any]:
    """A key that the index has not would be looked up in the table, where it is known to be NULL."""
    missing = name in order.keys and name not in part.keys
    return constant("").label(name) if missing else JOBS.c[name]


def _most(size: int) -> ColumnElement[int]:
    """A limit that the planner knows: it would take a parameter for thousands."""
    return literal_column(str(size))


def _left(wanted: JobFilter, order: Order) -> JobFilter:
    """What of the filter an index does not fulfil already by what lies in it."""
    return wanted if order.mixed else replace(wanted, states=())


def _narrowed(order: Order, wanted: JobFilter) -> Iterator[ColumnElement[bool]]:
    """What of the filter the index itself can find."""
    if wanted.ids:
        yield JOBS.c.id.in_(wanted.ids)
    elif order.keys[0] == "queue" and len(wanted.queues) == 1:
        yield JOBS.c.queue == wanted.queues[0]


def _behind(order: Order, part: Part, after: Sequence[str] | None) -> Iterator[ColumnElement[bool]]:
    """Where this part goes on; behind a key that it has not, only those before that one count."""
    if after is None:
        return
    texts = dict(zip(order.keys, after, strict=True))
    ends = next((at for at, key in enumerate(order.keys) if key not in part.keys and texts[key]), len(order.keys))
    keys = [key for key in order.keys[:ends] if key in part.keys]
    given = tuple_(*(cast(literal(texts[key], Text), JOBS.c[key].type) for key in keys))
    columns = tuple_(*(JOBS.c[key] for key in keys))
    yield columns < given if order.descending else columns > given


def _texts(order: Order, table: Subquery) -> list[ColumnElement[str]]:
    """The keys as they stand in a cursor."""
    return [cast(table.c[key], Text).label(f"key_{number}") for number, key in enumerate(order.keys)]


def _sorted(order: Order, table: Any, keys: Sequence[str] | None = None) -> list[ColumnElement[Any]]:
    return [table.c[key].desc() if order.descending else table.c[key] for key in keys or order.keys]
