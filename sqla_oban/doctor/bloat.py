"""Tables and indexes that are larger than what is in them, and indexes that nobody reads."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, text

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, ok, problem
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.identifiers import quoted

SUBJECT = "bloat"
TABLES = text(
    "SELECT c.relname, pg_relation_size(c.oid) AS bytes, n_live_tup AS live, "
    "(SELECT sum(avg_width) FROM pg_stats WHERE schemaname = :home AND tablename = c.relname)::float AS width "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_stat_all_tables s ON s.relid = c.oid "
    "WHERE nspname = :home AND c.relname LIKE 'oban\\_%' AND c.relkind IN ('r', 'p') ORDER BY c.relname"
)
INDEXES = text(
    "SELECT i.relname, i.reltuples::float AS rows, pg_relation_size(i.oid) AS bytes, indisvalid AS valid, "
    "t.relname AS on FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid "
    "JOIN pg_namespace n ON n.oid = t.relnamespace WHERE nspname = :home AND t.relname LIKE 'oban\\_%' "
    "ORDER BY i.relname"
)
ROW_OVERHEAD = 28
"""Bytes of each row beside its values."""
ENTRY = 100
"""Bytes of an entry of an index, rather too many than too few; pages are half full at times."""


def bloat(connection: Connection, home: str, thresholds: Thresholds) -> Iterator[Finding]:
    """By estimates: to measure it would take reading all of it."""
    found: list[Finding] = []
    for row in connection.execute(TABLES, {"home": home}):
        found += _table(row, home, thresholds)
    for row in connection.execute(INDEXES, {"home": home}):
        found += _index(row, home, thresholds)
    yield from found or [ok(SUBJECT, "no table or index is bloated, and no index is invalid")]


def _table(row: Row[Any], home: str, thresholds: Thresholds) -> Iterator[Finding]:
    filled = max(row.live, 0) * ((row.width or 0.0) + ROW_OVERHEAD)
    if row.width is not None and row.bytes > thresholds.bytes and row.bytes > thresholds.bloat * filled:
        yield problem(
            SUBJECT,
            f"{row.relname} takes {row.bytes:,} bytes for about {filled:,.0f} bytes of rows",
            f"VACUUM FULL {quoted(home)}.{row.relname} while nothing runs, or pg_repack; and see what let it grow",
            ailment=Ailment.TABLE_BLOAT,
            table=row.relname,
            bytes=row.bytes,
            filled=filled,
        )


def _index(row: Row[Any], home: str, thresholds: Thresholds) -> Iterator[Finding]:
    place = f"{quoted(home)}.{quoted(row.relname)}"
    if not row.valid:
        again = f"REINDEX INDEX CONCURRENTLY {place}"
        left = row.relname.rstrip("0123456789").endswith(("_ccnew", "_ccold"))
        yield problem(
            SUBJECT,
            f"the index {row.relname} on {row.on} is invalid: it is written to, and never read",
            f"DROP INDEX {place}, which a broken REINDEX has left behind" if left else again,
            ailment=Ailment.INVALID_INDEX,
            index=row.relname,
            table=row.on,
        )
    elif row.bytes > thresholds.bytes and row.bytes > thresholds.bloat * max(row.rows, 0.0) * ENTRY:
        yield problem(
            SUBJECT,
            f"the index {row.relname} takes {row.bytes:,} bytes for {max(row.rows, 0):,.0f} entries",
            f"REINDEX INDEX CONCURRENTLY {place}, or SqlaOban(reindexer=ReindexerSettings())",
            ailment=Ailment.INDEX_BLOAT,
            index=row.relname,
            bytes=row.bytes,
            entries=max(row.rows, 0.0),
        )
