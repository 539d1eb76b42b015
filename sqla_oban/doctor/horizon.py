"""Who keeps dead rows from being removed.

A vacuum removes only what nobody may still want to see. One session that forgot its transaction is enough for a queue
to fill up with the rows of jobs that ended long ago, through which every claim has to read.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, Row, text

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, note, ok, problem
from sqla_oban.doctor.thresholds import Thresholds

SUBJECT = "horizon"
SEEING = text("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS allowed, current_user AS role")
SESSIONS = text(
    "SELECT pid, usename, application_name, state, left(query, 200) AS query, "
    "extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' "
    "AND coalesce(backend_xmin, backend_xid) IS NOT NULL "
    "AND xact_start < clock_timestamp() - CAST(:seconds AS float) * interval '1 second' ORDER BY xact_start LIMIT 5"
)
SLOTS = text(
    "SELECT slot_name, slot_type, active, age(xmin) AS age, age(catalog_xmin) AS catalog_age, "
    "pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS behind FROM pg_replication_slots "
    "WHERE xmin IS NOT NULL OR NOT active ORDER BY slot_name"
)
PREPARED = text(
    "SELECT gid, owner, extract(epoch FROM clock_timestamp() - prepared)::float AS seconds FROM pg_prepared_xacts "
    "WHERE database = current_database() "
    "AND prepared < clock_timestamp() - CAST(:seconds AS float) * interval '1 second' "
    "ORDER BY prepared LIMIT 5"
)
STANDBYS = text(
    "SELECT application_name, client_addr::text AS address, age(backend_xmin) AS age FROM pg_stat_replication "
    "WHERE age(backend_xmin) > 1000000 ORDER BY age DESC"
)


def horizon(connection: Connection, thresholds: Thresholds) -> Iterator[Finding]:
    """Sessions, prepared transactions, replication slots and standbys that hold it back."""
    since = {"seconds": thresholds.horizon}
    found = [
        *(_session(row) for row in connection.execute(SESSIONS, since)),
        *(_prepared(row) for row in connection.execute(PREPARED, since)),
        *(_slot(row) for row in connection.execute(SLOTS)),
        *(_standby(row) for row in connection.execute(STANDBYS)),
    ]
    seeing = connection.execute(SEEING).one()
    if not seeing.allowed:
        yield note(
            SUBJECT,
            f"{seeing.role} does not see the transactions of others",
            f"GRANT pg_read_all_stats TO {seeing.role}",
            ailment=Ailment.NOT_ALLOWED_TO_SEE,
            role=seeing.role,
        )
    elif not found:
        yield ok(SUBJECT, f"nothing has kept dead rows for longer than {thresholds.horizon:,.0f} s")
    yield from found


def _session(row: Row[tuple[object, ...]]) -> Finding:
    who = f"{row.usename} ({row.application_name})" if row.application_name else row.usename
    return problem(
        SUBJECT,
        f"a transaction of {who}, process {row.pid}, has kept dead rows for {row.seconds:,.0f} s; it is {row.state}: "
        f"{row.query}",
        f"end it in the application, or SELECT pg_terminate_backend({row.pid}); "
        "idle_in_transaction_session_timeout ends such by itself",
        ailment=Ailment.OLD_SESSION,
        pid=row.pid,
        role=row.usename,
        application=row.application_name,
        state=row.state,
        seconds=row.seconds,
    )


def _prepared(row: Row[tuple[object, ...]]) -> Finding:
    return problem(
        SUBJECT,
        f"the prepared transaction {row.gid!r} of {row.owner} has kept dead rows for {row.seconds:,.0f} s",
        f"COMMIT PREPARED or ROLLBACK PREPARED '{str(row.gid).replace(chr(39), chr(39) * 2)}'",
        ailment=Ailment.OLD_PREPARED_TRANSACTION,
        gid=row.gid,
        role=row.owner,
        seconds=row.seconds,
    )


def _slot(row: Row[tuple[object, ...]]) -> Finding:
    """One that nobody reads keeps the log for ever, and with an `xmin` dead rows as well."""
    facts = {"slot": row.slot_name, "active": row.active, "age": row.age, "bytes_behind": row.behind}
    drop = f"SELECT pg_drop_replication_slot('{row.slot_name}'), if its reader does not come back"
    if row.active:
        return note(
            SUBJECT,
            f"the replication slot {row.slot_name} keeps dead rows of the last {row.age:,} transactions for its reader",
            "see that the reader keeps up",
            ailment=Ailment.OLD_SLOT,
            **facts,
        )
    keeps = "dead rows and the log" if row.age is not None else "the log"
    return problem(
        SUBJECT,
        f"the replication slot {row.slot_name} keeps {keeps}, and nobody reads it",
        drop,
        ailment=Ailment.OLD_SLOT,
        **facts,
    )


def _standby(row: Row[tuple[object, ...]]) -> Finding:
    return problem(
        SUBJECT,
        f"the standby {row.application_name} keeps dead rows of the last {row.age:,} transactions by its feedback",
        "end the long query there, or turn hot_standby_feedback off",
        ailment=Ailment.OLD_STANDBY,
        standby=row.application_name,
        address=row.address,
        age=row.age,
    )
