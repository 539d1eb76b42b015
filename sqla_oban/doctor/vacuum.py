"""Whether what is dead in our tables and indexes is removed in time."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, text

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, ok, problem
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.identifiers import quoted

SUBJECT = "vacuum"
TABLES = text(
    "SELECT c.relname, c.reltuples::float AS rows, pg_relation_size(c.oid) AS bytes, n_live_tup AS live, "
    "n_dead_tup AS dead, coalesce(c.reloptions, '{}') AS options, "
    "extract(epoch FROM clock_timestamp() - greatest(last_autovacuum, last_vacuum))::float AS seconds, "
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
SETTINGS = text(
    "SELECT name, setting FROM pg_settings WHERE name IN "
    "('autovacuum', 'autovacuum_vacuum_threshold', 'autovacuum_vacuum_scale_factor')"
)
ROW_OVERHEAD = 28
"""Bytes of each row beside its values."""
ENTRY = 100
"""Bytes of an entry of an index, rather too many than too few; pages are half full at times."""
LATE = 3
"""How many times more dead rows than begin a vacuum there may be while one is under way."""


def vacuum(connection: Connection, home: str, thresholds: Thresholds) -> Iterator[Finding]:
    """Dead rows, bloat, and whether autovacuum keeps up."""
    settings = {row.name: row.setting for row in connection.execute(SETTINGS)}
    found: list[Finding] = []
    if settings["autovacuum"] != "on":
        what = "autovacuum is off: dead rows stay for ever"
        found.append(problem(SUBJECT, what, "ALTER SYSTEM SET autovacuum = on", ailment=Ailment.AUTOVACUUM_OFF))
    for row in connection.execute(TABLES, {"home": home}):
        found += _table(row, home, settings, thresholds)
    for row in connection.execute(INDEXES, {"home": home}):
        found += _index(row, home, thresholds)
    yield from found or [ok(SUBJECT, "dead rows are removed in time, and no table or index is bloated")]


def _table(row: Row[Any], home: str, settings: Mapping[str, str], thresholds: Thresholds) -> Iterator[Finding]:
    place, facts = f"{quoted(home)}.{row.relname}", {"table": row.relname, "dead": row.dead, "live": row.live}
    options = dict(option.partition("=")[::2] for option in row.options)
    if options.get("autovacuum_enabled") in ("false", "off"):
        yield problem(
            SUBJECT,
            f"autovacuum is off for {row.relname}: dead rows stay for ever",
            f"ALTER TABLE {place} RESET (autovacuum_enabled)",
            ailment=Ailment.AUTOVACUUM_OFF,
            table=row.relname,
        )
    if row.dead > thresholds.dead_rows and row.dead > thresholds.dead_share * row.live:
        yield problem(
            SUBJECT,
            f"{row.relname} has {row.dead:,} dead rows beside {row.live:,} living ones, which every claim reads past",
            f"see what holds the horizon; when nothing does, VACUUM {place}",
            ailment=Ailment.DEAD_ROWS,
            **facts,
        )
    begins = _begins(options, settings, max(row.rows, 0.0))
    if row.dead > thresholds.dead_rows and row.dead > LATE * begins:
        last = "never" if row.seconds is None else f"{row.seconds:,.0f} s ago"
        yield problem(
            SUBJECT,
            f"autovacuum does not keep up with {row.relname}: {row.dead:,} dead rows, it begins at {begins:,.0f}, and "
            f"the last one ended {last}",
            "raise autovacuum_max_workers, or shorten autovacuum_naptime; and see what holds the horizon",
            ailment=Ailment.AUTOVACUUM_LAGS,
            **facts,
            begins=begins,
            seconds=row.seconds,
        )
    filled = max(row.live, 0) * ((row.width or 0.0) + ROW_OVERHEAD)
    if row.width is not None and row.bytes > thresholds.bytes and row.bytes > thresholds.bloat * filled:
        yield problem(
            SUBJECT,
            f"{row.relname} takes {row.bytes:,} bytes for about {filled:,.0f} bytes of rows",
            f"VACUUM FULL {place} while nothing runs, or pg_repack; and see what let it grow",
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


def _begins(options: Mapping[str, str], settings: Mapping[str, str], rows: float) -> float:
    """How many dead rows begin a vacuum."""

    def setting(name: str) -> float:
        return float(options.get(name, settings[name]))

    return setting("autovacuum_vacuum_threshold") + setting("autovacuum_vacuum_scale_factor") * rows
