"""Insert any number of jobs by one statement."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Float,
    Integer,
    SmallInteger,
    Table,
    TableValuedAlias,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by, insert
from sqlalchemy.types import TypeEngine

from sqla_oban.queries.expressions import constant, now, seconds

GIVEN: Final[dict[str, tuple[TypeEngine[Any], str]]] = {
    "state": (Text(), "'available'"),
    "queue": (Text(), "'default'"),
    "worker": (Text(), "NULL"),
    "attempt": (SmallInteger(), "0"),
    "max_attempts": (SmallInteger(), "20"),
    "priority": (SmallInteger(), "0"),
    "args": (JSONB(), "'{}'::jsonb"),
    "meta": (JSONB(), "'{}'::jsonb"),
    "tags": (ARRAY(Text()), "ARRAY[]::text[]"),
    "weight": (Integer(), "NULL"),
    "workflow_id": (BigInteger(), "NULL"),
    "workflow_name": (Text(), "NULL"),
}
"""What a job may say of itself when it is inserted, with its type and the column's default: an INSERT ... SELECT cannot
say DEFAULT for a single row."""
TIMES: Final[dict[str, TypeEngine[Any]]] = {"delay": Float(53), "scheduled_at": DateTime()}
"""What it may say of the moment from which it may run: a number of seconds from the INSERT on, or the moment."""


class Inserted(NamedTuple):
    """What the database decided of the jobs that were inserted, in their order."""

    ids: list[int]
    inserted_ats: list[datetime]
    scheduled_ats: list[datetime]


def insert_jobs(table: Table, said: frozenset[str]) -> Executable:
    """Inserts `rows`, a JSON array of objects, into a table of jobs in their order; returns one row, `Inserted`.

    One parameter for any number of rows, as fast as COPY, on every driver; and one row of three arrays, because rows
    are what drivers and SQLAlchemy take their time for. `ord` numbers the rows. The identity column counts in the
    order in which rows are inserted, so the ids, sorted, are those of the rows in order. A `delay` in seconds is
    counted from the INSERT, by PostgreSQL's clock.

    Args:
        said: what any of the rows says, of `GIVEN` and `TIMES`; all else is left to the columns' own defaults, because
            each that is read and written costs time.
    """
    given = {name: one for name, one in GIVEN.items() if name in said}
    columns: list[Any] = [column("ord", Integer), *(column(name, kind) for name, kind in TIMES.items() if name in said)]
    columns += [column(name, kind) for name, (kind, _) in given.items()]
    rows = (
        func.jsonb_to_recordset(cast(bindparam("rows", type_=Text), JSONB))
        .table_valued(*columns)
        .render_derived(name="job", with_types=True)
    )
    values: dict[str, ColumnElement[Any]] = {
        name: func.coalesce(rows.c[name], literal_column(default, kind)) for name, (kind, default) in given.items()
    }
    if "state" in values:
        values["state"] = cast(values["state"], table.c.state.type)  # lies in the schema of the table
    if moments := _moments(rows):
        values["scheduled_at"] = func.coalesce(*moments, func.timezone(constant("UTC"), func.now()))
    ordered = select(*values.values()).order_by(rows.c.ord)
    decided = (type_coerce(table.c[name], DateTime).label(name) for name in ("inserted_at", "scheduled_at"))
    new = insert(table).from_select(list(values), ordered, include_defaults=False).returning(table.c.id, *decided)
    inserted = new.cte("inserted")
    return select(*(func.array_agg(aggregate_order_by(one, inserted.c.id)) for one in inserted.c))


def _moments(rows: TableValuedAlias) -> list[ColumnElement[Any]]:
    """When a row is due, by what it says; NULL where it says nothing."""
    delayed = [now() + seconds(rows.c.delay)] if "delay" in rows.c else []
    return [*delayed, *([rows.c.scheduled_at] if "scheduled_at" in rows.c else [])]
