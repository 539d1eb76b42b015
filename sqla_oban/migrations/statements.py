"""The statements that bring tables from one version to the next, for a schema."""

from collections.abc import Iterator

from sqla_oban.errors import ConfigurationError
from sqla_oban.identifiers import quoted
from sqla_oban.migrations.adoption import MARK, MARKER
from sqla_oban.migrations.version import Version

MAX_SCHEMA = 63 - len(".oban_cronitor")
"""Bytes: PostgreSQL allows 63 in a channel's name, and Oban's longest is `{schema}.oban_cronitor`."""

TURN, BUILDING = (f"hashtextextended('sqla_oban.{what}', 0)" for what in ("migrations", "builds"))
TAKE_TURNS = f"SELECT pg_advisory_xact_lock({TURN})"
"""Two deployments that migrate at once take turns, and the second finds nothing left to do."""

NOBODY_BUILDS = f"SELECT pg_try_advisory_xact_lock_shared({BUILDING})"
"""Whether no deployment builds indexes outside of a transaction, which it marks by an exclusive lock of its session.

Shared, since two that migrate take turns already: PostgreSQL releases the locks of a transaction one by one, so the
second may have its turn while the first still holds this one.

Whoever comes meanwhile must go away instead of waiting: a build waits for every snapshot that is older, so the two
would wait for each other.
"""
BEGIN_BUILDING, END_BUILDING = (f"SELECT pg_advisory_{verb}({BUILDING})" for verb in ("lock", "unlock"))
SOMEBODY_BUILDS = (
    "another deployment builds indexes of the sqla_oban tables at this moment: run this again when it has ended"
)


def usable(schema: str) -> str:
    """`schema`, if the tables can be there.

    Raises:
        ConfigurationError: its name cannot be used.
    """
    if not 0 < len(schema.encode()) <= MAX_SCHEMA or "%" in schema or "$oban$" in schema:
        raise ConfigurationError(
            f"the schema's name must have 1 to {MAX_SCHEMA} bytes, because it begins the names of the channels, and "
            f"neither % nor $oban$, got {schema!r}"
        )
    return schema


def rendered(template: str, home: str) -> str:
    """A statement of a version for the schema `home`."""
    schema, jobs = quoted(home), f"{quoted(home)}.oban_jobs"
    return template.format_map({"schema": schema, "schema_literal": literal(home), "jobs_literal": literal(jobs)})


def ended(version: Version, number: int, home: str) -> str:
    """The statement that says that a version was run in full."""
    return rendered(version.end(stamp(number)), home)


def stamp(number: int) -> str:
    """The template of the statement that says that the tables are of version `number`."""
    return f"COMMENT ON CONSTRAINT oban_jobs_pkey ON {{schema}}.oban_jobs IS '{MARKER}{number}'"


def climb(version: Version, number: int, home: str, *, concurrently: bool) -> Iterator[str]:
    """One version up, in a script; with `concurrently` it leaves the transaction for the indexes."""
    if version.obstacle is not None:
        yield _refuse(rendered(version.obstacle, home))
    yield from (rendered(statement, home) for statement in version.upgrade)
    outside = concurrently and bool(version.indexes)
    if outside:
        yield "COMMIT"
    yield from (rendered(statement, home) for statement in version.builds(concurrently=outside))
    yield ended(version, number, home)
    if outside:
        yield "BEGIN"
        yield TAKE_TURNS


def descend(version: Version, number: int, home: str) -> Iterator[str]:
    """One version down."""
    yield from (rendered(statement, home) for statement in version.downgrade)
    if number > 1:
        yield rendered(stamp(number - 1), home)


def expect(lowest: int, highest: int, home: str) -> str:
    """A statement that refuses to go on where the tables are of other versions, or somebody builds.

    A range, since another branch of the host's history may have brought them up or down already: going there again
    changes nothing.
    """
    allowed = ", ".join(f"'{MARKER}{number}'" for number in range(lowest, highest + 1))
    unmarked = "" if lowest else " OR NOT starts_with(mark, 'sqla_oban:')"
    return f"""DO $oban$
DECLARE
  mark text := coalesce({rendered(MARK, home)}, '');
BEGIN
  IF NOT (mark IN ({allowed}){unmarked}) THEN
    RAISE EXCEPTION 'this script is for version {lowest} of the sqla_oban tables, which this database does not have';
  END IF;
  IF NOT ({NOBODY_BUILDS}) THEN
    RAISE EXCEPTION '{SOMEBODY_BUILDS}';
  END IF;
END $oban$"""


def literal(value: str) -> str:
    """`value` as a text of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _refuse(obstacle: str) -> str:
    return f"""DO $oban$
DECLARE
  obstacle text := ({obstacle});
BEGIN
  IF obstacle IS NOT NULL THEN
    RAISE EXCEPTION USING MESSAGE = obstacle;
  END IF;
END $oban$"""
