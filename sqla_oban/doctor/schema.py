"""The schema: its version, and whether all its parts are there, as they were made."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from sqla_oban.doctor.expected import Expected, expected
from sqla_oban.doctor.finding import Finding, note, ok, problem
from sqla_oban.doctor.tables import indexes, tables
from sqla_oban.errors import SchemaMismatch
from sqla_oban.identifiers import quoted
from sqla_oban.migrations import check_version, current_version

SUBJECT = "schema"
REPAIR = "run the statement that `sqla-oban migrate --sql --from 0` prints for it"

FUNCTIONS = text(
    "SELECT proname, prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = :home"
)
TRIGGERS = text(
    "SELECT tgname, relname, tgenabled::text = 'D' AS disabled FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid "
    "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = :home AND relname = ANY(:tables) AND NOT tgisinternal"
)
USAGE = text("SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = :home")
EXISTS = text(
    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE nspname = :home AND relname = 'oban_jobs'"
)


def reachable(connection: Connection, home: str) -> Iterator[Finding]:
    """Whether the role may look into the schema at all; nothing when it may."""
    usage = connection.scalar(USAGE, {"home": home})
    if usage is None:
        yield problem(SUBJECT, f"there is no schema {home}", f"sqla-oban migrate --schema {home} --url ...")
    elif not usage:
        role = connection.scalar(text("SELECT current_user"))
        yield problem(
            "permissions",
            f"{role} may not use the schema {home}",
            f"GRANT USAGE ON SCHEMA {quoted(home)} TO {quoted(str(role))}",
        )


def version(connection: Connection, home: str) -> Iterator[Finding]:
    """Whether the tables are of the version that this release needs."""
    found = current_version(connection, schema=home)
    if not found and connection.scalar(EXISTS, {"home": home}):
        yield problem(
            SUBJECT,
            f"there is a table oban_jobs in schema {home} that is not of sqla_oban's making",
            "adopt it, if oban.py or Oban for Elixir made it: sqla-oban migrate ...; else move it out of the way, or "
            "have sqla_oban's made in a schema of their own: sqla-oban migrate --schema ...",
        )
        return
    try:
        check_version(connection, schema=home)
    except SchemaMismatch as error:
        what, _, remedy = str(error).partition(": ")
        yield problem(SUBJECT, what, remedy)
    else:
        yield ok(SUBJECT, f"the tables in schema {home} are at version {found}")


def parts(connection: Connection, home: str) -> Iterator[Finding]:
    """Tables, columns, indexes, functions and triggers: what is missing, changed or not ours."""
    wanted = expected(home)
    found = [
        *tables(connection, home, wanted),
        *indexes(connection, home, wanted),
        *_functions(connection, home, wanted),
        *_triggers(connection, home, wanted),
    ]
    if not any(finding.remedy for finding in found):
        yield ok(SUBJECT, "tables, indexes, functions and triggers are complete")
    yield from found


def _functions(connection: Connection, home: str, wanted: Expected) -> Iterator[Finding]:
    found = {row.proname: row.prosrc for row in connection.execute(FUNCTIONS, {"home": home})}
    for name, body in wanted.functions.items():
        if name not in found:
            yield problem(SUBJECT, f"the function {name} is missing", REPAIR)
        elif found[name] != body:
            yield problem(SUBJECT, f"the function {name} was changed", f"drop it with CASCADE, then {REPAIR}")


def _triggers(connection: Connection, home: str, wanted: Expected) -> Iterator[Finding]:
    rows = connection.execute(TRIGGERS, {"home": home, "tables": [table.name for table in wanted.tables]}).all()
    found = {row.tgname: row for row in rows}
    for name, trigger in wanted.triggers.items():
        if name not in found:
            what = f"the trigger {name} on {trigger.on} is missing: {trigger.without}"
            yield problem(SUBJECT, what, REPAIR)
        elif found[name].disabled:
            what = f"the trigger {name} on {trigger.on} is disabled: {trigger.without}"
            yield problem(SUBJECT, what, f"ALTER TABLE {quoted(home)}.{trigger.on} ENABLE TRIGGER {name}")
    for row in rows:
        if row.tgname not in wanted.triggers:
            yield note(SUBJECT, f"{row.relname} has a trigger that is not ours, {row.tgname}")
