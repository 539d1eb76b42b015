"""What the connecting role may do with our tables and functions."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from sqla_oban.doctor.expected import expected
from sqla_oban.doctor.finding import Finding, ok, problem
from sqla_oban.identifiers import quoted

SUBJECT = "permissions"
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What a runner does with each table. Its ids come from an identity, whose sequence needs no privilege of its own."""

TABLES = text(
    "SELECT relname AS name, privilege FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
    "CROSS JOIN unnest(CAST(:privileges AS text[])) WITH ORDINALITY AS p (privilege, place) "
    "WHERE nspname = :home AND relname = ANY(:names) AND NOT has_table_privilege(c.oid, privilege) "
    "ORDER BY relname, place"
)
FUNCTIONS = text(
    "SELECT p.oid::regprocedure::text AS signature FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace "
    "WHERE nspname = :home AND proname = ANY(:names) AND NOT has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1"
)


def permissions(connection: Connection, home: str) -> Iterator[Finding]:
    """What the role may not do and would have to."""
    role = str(connection.scalar(text("SELECT current_user")))
    wanted = expected(home)
    denied: dict[str, list[str]] = {}
    tables = {"home": home, "names": [table.name for table in wanted.tables], "privileges": list(PRIVILEGES)}
    for table, privilege in connection.execute(TABLES, tables):
        denied.setdefault(table, []).append(privilege)
    for table, privileges in denied.items():
        what = ", ".join(privileges)
        yield problem(
            SUBJECT, f"{role} may not {what} in {table}", f"GRANT {what} ON {quoted(home)}.{table} TO {quoted(role)}"
        )
    functions = connection.scalars(FUNCTIONS, {"home": home, "names": list(wanted.functions)}).all()
    for signature in functions:
        yield problem(
            SUBJECT, f"{role} may not call {signature}", f"GRANT EXECUTE ON FUNCTION {signature} TO {quoted(role)}"
        )
    if not denied and not functions:
        yield ok(SUBJECT, f"{role} may do all that a runner does")
