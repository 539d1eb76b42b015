"""Whether what is dead in our tables is removed in time."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, text

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, ok, problem
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.identifiers import quoted

SUBJECT = "vacuum"
TABLES = text(
    "SELECT c.relname, c.reltuples::float AS rows, n_live_tup AS live, "
    "n_dead_tup AS dead, coalesce(c.reloptions, '{}') AS options, "
    "extract(epoch FROM clock_timestamp() - greatest(last_autovacuum, last_vacuum))::float AS seconds "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_stat_all_tables s ON s.relid = c.oid "
    "WHERE nspname = :home AND c.relname LIKE 'oban\\_%' AND c.relkind IN ('r', 'p') ORDER BY c.relname"
)
SETTINGS = text(
    "SELECT name, setting FROM pg_settings WHERE name IN "
    "('autovacuum', 'autovacuum_vacuum_threshold', 'autovacuum_vacuum_scale_factor')"
)
LATE = 3
"""How many times more dead rows than begin a vacuum there may be while one is under way."""


def vacuum(connection: Connection, home: str, thresholds: Thresholds) -> Iterator[Finding]:
    """Dead rows, and whether autovacuum keeps up."""
    settings = {row.name: row.setting for row in connection.execute(SETTINGS)}
    found: list[Finding] = []
    if settings["autovacuum"] != "on":
        what = "autovacuum is off: dead rows stay for ever"
        found.append(problem(SUBJECT, what, "ALTER SYSTEM SET autovacuum = on", ailment=Ailment.AUTOVACUUM_OFF))
    for row in connection.execute(TABLES, {"home": home}):
        found += _table(row, home, settings, thresholds)
    yield from found or [ok(SUBJECT, "dead rows are removed in time")]


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


def _begins(options: Mapping[str, str], settings: Mapping[str, str], rows: float) -> float:
    """How many dead rows begin a vacuum."""

    def setting(name: str) -> float:
        return float(options.get(name, settings[name]))

    return setting("autovacuum_vacuum_threshold") + setting("autovacuum_vacuum_scale_factor") * rows
