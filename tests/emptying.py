"""Empties the tables between tests."""

from sqlalchemy import TextClause, text

TABLES = (
    "oban_jobs",
    "oban_peers",
    "oban_producers",
    "oban_queues",
    "oban_crons",
    "oban_rates",
    "oban_workflows",
    "oban_workflow_edges",
    "oban_batches",
)


def emptied() -> TextClause:
    """Leaves the tables as after the migration: no rows, and ids that begin at one.

    TRUNCATE makes a new file of each table and each of its indexes, which takes ten times as long as to delete the few
    rows of a test; what many rows left is truncated. As TRUNCATE does, it waits for who still writes, and lets triggers
    and foreign keys rest.
    """
    deletes = "\n".join(f"DELETE FROM {table};" for table in TABLES)
    return text(f"""
        DO $$
        BEGIN
          IF pg_table_size('oban_jobs') > 1024 * 1024 THEN
            TRUNCATE {", ".join(TABLES)} RESTART IDENTITY CASCADE;
          ELSE
            LOCK TABLE {", ".join(TABLES)};
            SET LOCAL session_replication_role = replica;
            {deletes}
            PERFORM setval(oid\\:\\:regclass, seqstart, false)
              FROM pg_class JOIN pg_sequence ON seqrelid = oid
             WHERE relname LIKE 'oban\\_%' AND relnamespace = current_schema()\\:\\:regnamespace;
          END IF;
        END $$
    """)
