"""The expressions that several statements share."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    CTE,
    ColumnElement,
    DateTime,
    Float,
    Function,
    Interval,
    Numeric,
    ScalarSelect,
    Table,
    TableValuedAlias,
    Text,
    bindparam,
    case,
    cast,
    column,
    extract,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import TypeEngine

from sqla_oban.identifiers import quoted
from sqla_oban.models import Cron, Job, Peer, Producer, Queue, Rate
from sqla_oban.models.job import JOB_STATE
from sqla_oban.states import WAITING, JobState

JOBS: Table = Job.__table__  # type: ignore[assignment]  # declarative types it as any FROM clause
PEERS: Table = Peer.__table__  # type: ignore[assignment]
PRODUCERS: Table = Producer.__table__  # type: ignore[assignment]
QUEUES: Table = Queue.__table__  # type: ignore[assignment]
RATES: Table = Rate.__table__  # type: ignore[assignment]
CRONS: Table = Cron.__table__  # type: ignore[assignment]

SQLType: TypeAlias = TypeEngine[Any] | type[TypeEngine[Any]]

CANCEL_REQUESTED: Final = "cancel_requested"
"""The key in a job's meta that says which execution of it is to be stopped."""

SIGNALS: Final = "signals"
"""The key in a job's meta of the signals that it was sent: payloads by their names. Only senders write it."""

SIGNAL_WAIT: Final = "signal_wait"
"""The key in a job's meta of what it waits for; only its own executions write it.

`name` is the signal, `execution` the one that was put aside for it, so that this is void for any later one, and
`deadlines` holds by name until when, in seconds since 1970, it waits or has waited.
"""


def now() -> ColumnElement[Any]:
    """This very moment in UTC, as Oban's columns hold it; `now()` would be when the transaction began."""
    return literal_column("timezone('UTC', clock_timestamp())", DateTime())


def statement_time() -> ColumnElement[Any]:
    """When the statement began, in UTC: stable, so that the planner may compare an index with it."""
    return literal_column("timezone('UTC', statement_timestamp())", DateTime())


def seconds(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """A number of seconds as an interval."""
    return cast(value, Float(53)).op("*")(literal_column("interval '1 second'", Interval()))


def in_states(*states: JobState) -> ColumnElement[bool]:
    """Whether a job is in one of `states`, written as the predicates of the partial indexes are."""
    column = JOBS.c.state
    values = [literal(state) for state in states]
    return column == values[0] if len(values) == 1 else column.in_(values)


def is_executing() -> ColumnElement[bool]:
    """Whether a row that was found by its id is executing.

    Compared as text, so that no partial index matches: the one on executing jobs looks tiny to the planner, and is
    full of the dead entries of all jobs that went through it since the last vacuum.
    """
    return cast(JOBS.c.state, Text) == constant(JobState.EXECUTING)


def literal(state: JobState) -> ColumnElement[Any]:
    """A state as a literal of the statement."""
    return cast(literal_column(f"'{state.value}'"), JOB_STATE)


def execution() -> ColumnElement[Any]:
    """Which execution of its job a row is in, as JSON: the moment of its claim, different for each."""
    return func.to_jsonb(func.coalesce(extract("epoch", JOBS.c.attempted_at), literal_column("0")), type_=JSONB)


def is_cancel_requested() -> ColumnElement[bool]:
    """Whether the present execution of a job is to be stopped; what was asked of an earlier one is void."""
    return JOBS.c.meta.op("->")(constant(CANCEL_REQUESTED)) == execution()


def holder() -> ColumnElement[str]:
    """The producer that claimed a job, as text: `attempted_by` is `[node, producer]`."""
    return literal_column("oban_jobs.attempted_by[2]", Text())


def with_error(error: ColumnElement[Any]) -> ColumnElement[Any]:
    """A job's errors and one more, in the form that Oban's dashboard reads: when, in which attempt, what.

    An object is appended by `||` to a jsonb array as well as to the `jsonb[]` of a table that Oban for Elixir made.
    """
    entry = func.jsonb_build_object(
        constant("at"), moment(), constant("attempt"), JOBS.c.attempt, constant("error"), error, type_=JSONB
    )
    return JOBS.c.errors.op("||")(entry)


def moment() -> ColumnElement[str]:
    """This very moment as text, as Oban's libraries write it into JSON."""
    return func.to_char(now(), constant('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))


def object_or_empty(json: ColumnElement[Any]) -> ColumnElement[Any]:
    """A JSON object as it is; anything else, as another library may store it as meta, gives way to an empty one."""
    is_object = func.jsonb_typeof(json) == constant("object")
    return case((is_object, json), else_=literal_column("'{}'::jsonb", JSONB))


def counted(key: str) -> ColumnElement[Any]:
    """A job's meta with the number under `key` raised by one; anything there that is no number counts as zero."""
    number = func.jsonb_typeof(JOBS.c.meta.op("->")(constant(key))) == constant("number")
    count = case(
        (number, cast(JOBS.c.meta.op("->>")(constant(key)), Numeric)), else_=literal_column("0")
    ) + literal_column("1")
    return object_or_empty(JOBS.c.meta).op("||")(func.jsonb_build_object(constant(key), count, type_=JSONB))


def constant(value: str) -> ColumnElement[str]:
    """A text of ours as a literal of the statement, where a parameter would only obscure it."""
    return literal_column(f"'{value}'", Text())


def ring(queue: ColumnElement[str], schema: str | None, *due_soon: ColumnElement[bool]) -> Function[Any]:
    """Wakes a sleeping producer of `queue`; to be called after its rows were made available, or are `due_soon`."""
    return home_function(schema, "oban_ring", queue, *due_soon)


def rings(changed: CTE, schema: str | None) -> ScalarSelect[int]:
    """Wakes a sleeping producer of each queue in which rows of `changed` are available now; the number of queues.

    It must be selected, or nothing rings.
    """
    rung = (
        select(ring(changed.c.queue, schema).label("rung"))
        .where(changed.c.state == literal(JobState.AVAILABLE))
        .group_by(changed.c.queue)
        .cte("rung")
        .prefix_with("MATERIALIZED")
    )
    return select(func.count(rung.c.rung)).scalar_subquery()


def rings_with_waiting(changed: CTE, schema: str | None) -> ScalarSelect[int]:
    """The same, and tells of rows of `changed` that wait for a time before the stagers look again."""
    waiting = changed.c.state.in_([literal(state) for state in WAITING])
    before_the_next_look = changed.c.scheduled_at < now() + literal_column("interval '5 seconds'", Interval())
    told = select(changed.c.queue, waiting.label("due_soon")).distinct()
    told = told.where((changed.c.state == literal(JobState.AVAILABLE)) | (waiting & before_the_next_look))
    queues = told.cte("told")
    rung = select(ring(queues.c.queue, schema, queues.c.due_soon).label("rung")).cte("rung").prefix_with("MATERIALIZED")
    return select(func.count(rung.c.rung)).scalar_subquery()


def home_function(schema: str | None, name: str, *arguments: ColumnElement[Any]) -> Function[Any]:
    """A call of one of our functions; in `schema`, or where the search path finds it."""
    return Function(quoted_name(f"{quoted(schema)}.{name}" if schema else name, quote=False), *arguments)


def parallel(
    alias: str, columns: Mapping[str, tuple[TypeEngine[Any] | type[TypeEngine[Any]], str]]
) -> TableValuedAlias:
    """A table of arrays that are given side by side: its columns by name, each with its type and its parameter.

    Shorter arrays are filled up with NULL.
    """
    arrays = [bindparam(parameter, type_=ARRAY(kind)) for kind, parameter in columns.values()]
    typed = [column(name, kind) for name, (kind, _) in columns.items()]
    return func.unnest(*arrays).table_valued(*typed).render_derived(name=alias)
