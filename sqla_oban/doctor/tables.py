"""The tables, column by column, and their indexes."""

from collections.abc import Iterator

from sqlalchemy import Column, Connection, Row, Table, text
from sqlalchemy.dialects.postgresql.base import PGDialect

from sqla_oban.doctor.expected import Expected
from sqla_oban.doctor.finding import Finding, note, problem
from sqla_oban.identifiers import quoted

SUBJECT = "schema"
MADE_ANEW = "make it as the output of `sqla-oban migrate --sql --from 0` has it"

FOREIGN_TYPES = {"errors": "jsonb[]", "attempt": "integer", "max_attempts": "integer", "priority": "integer"}
"""What these columns are in a table that Oban for Elixir made and we adopted; everything works with both."""

COLUMNS = text(
    "SELECT relname, attname, format_type(atttypid, atttypmod) AS type, "
    "attnotnull AND NOT atthasdef AND attidentity = '' AS required "
    "FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE nspname = :home AND relname = ANY(:tables) AND attnum > 0 AND NOT attisdropped"
)
INDEXES = text(
    "SELECT i.relname, t.relname AS on, indisvalid AS valid, ARRAY(SELECT pg_get_indexdef(i.oid, place, true) "
    "FROM generate_series(1, indnkeyatts) place ORDER BY place) AS columns "
    "FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid "
    "JOIN pg_namespace n ON n.oid = t.relnamespace WHERE nspname = :home AND t.relname = ANY(:tables)"
)


def tables(connection: Connection, home: str, wanted: Expected) -> Iterator[Finding]:
    """Those that are missing, columns that are missing or of another type, and foreign columns."""
    found: dict[str, dict[str, Row[tuple[str, str, str, bool]]]] = {}
    for row in connection.execute(COLUMNS, {"home": home, "tables": [table.name for table in wanted.tables]}):
        found.setdefault(row.relname, {})[row.attname] = row
    for table in wanted.tables:
        if table.name not in found:
            yield problem(SUBJECT, f"the table {table.name} is missing", MADE_ANEW)
        else:
            yield from _columns(table, found[table.name])


def indexes(connection: Connection, home: str, wanted: Expected) -> Iterator[Finding]:
    """Those that are missing, unusable or on other columns: everything works without, and slower each day."""
    rows = connection.execute(INDEXES, {"home": home, "tables": [table.name for table in wanted.tables]})
    found = {row.relname: row for row in rows}
    for index in (index for table in wanted.tables for index in table.indexes):
        name = str(index.name)
        made = wanted.statements[name]
        if name not in found:
            yield problem(SUBJECT, f"the index {name} is missing", made)
        elif not found[name].valid:
            yield problem(SUBJECT, f"the index {name} is invalid", f"REINDEX INDEX {quoted(home)}.{name}")
        elif found[name].columns != [column.name for column in index.columns]:
            there = ", ".join(found[name].columns)
            yield problem(SUBJECT, f"the index {name} is on other columns: {there}", f"drop it, then {made}")


def _columns(table: Table, found: dict[str, Row[tuple[str, str, str, bool]]]) -> Iterator[Finding]:
    for column in table.columns:
        there = found.get(column.name)
        if there is None:
            yield problem(SUBJECT, f"the column {table.name}.{column.name} is missing", MADE_ANEW)
        elif there.type.rpartition(".")[2] not in {_type(column), FOREIGN_TYPES.get(column.name)}:
            what = f"the column {table.name}.{column.name} is of type {there.type}, not {_type(column)}"
            yield problem(SUBJECT, what, MADE_ANEW)
    for name in found.keys() - {column.name for column in table.columns}:
        if found[name].required:
            what = f"{table.name} has a column {name} that is not ours and may not be NULL: inserts fail"
            yield problem(SUBJECT, what, "give it a default")
        else:
            yield note(SUBJECT, f"{table.name} has a column {name} that is not ours")


def _type(column: Column[object]) -> str:
    """Its type as PostgreSQL writes it, without a schema and a collation."""
    dialect = PGDialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    return column.type.compile(dialect).lower().partition(" collate ")[0].rpartition(".")[2]
