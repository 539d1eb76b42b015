"""The server: new enough, and writable."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from sqla_oban.doctor.finding import Finding, ok, problem

OLDEST = 14
SUBJECT = "server"

QUESTION = text(
    "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major, "
    "pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') = 'on' AS read_only, "
    "current_user AS role, current_database() AS database"
)


def server(connection: Connection) -> Iterator[Finding]:
    """Its version, and whether it lets us write."""
    found = connection.execute(QUESTION).one()
    yield ok("database", f"connected to {found.database} as {found.role}")
    if found.major < OLDEST:
        yield problem(SUBJECT, f"PostgreSQL {found.version} is too old", f"upgrade it to {OLDEST} or newer")
    else:
        yield ok(SUBJECT, f"PostgreSQL {found.version}")
    if found.standby:
        yield problem(SUBJECT, "this is a standby, which takes no writes", "connect to the primary")
    elif found.read_only:
        yield problem(
            SUBJECT,
            f"transactions of {found.role} are read-only by default",
            "ALTER ROLE or ALTER DATABASE ... RESET default_transaction_read_only",
        )
