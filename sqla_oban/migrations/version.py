"""What a version of the tables consists of."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Index:
    """An index on `oban_jobs`.

    Args:
        name: its name.
        on: its columns, and what follows them.
        unique: whether it forbids duplicates.
    """

    name: str
    on: str
    unique: bool = False

    def made(self, *, concurrently: bool) -> str:
        """The statement that makes it, if it is not there."""
        kind, how = "UNIQUE INDEX" if self.unique else "INDEX", "CONCURRENTLY " if concurrently else ""
        return f"CREATE {kind} {how}IF NOT EXISTS {self.name} ON {{schema}}.oban_jobs {self.on}"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that a version makes.

    Args:
        name: its name.
        without: what goes wrong where it is missing.
        on: its table.
    """

    name: str
    without: str
    on: str = "oban_jobs"


@dataclass(frozen=True, slots=True)
class Version:
    """One version: what it does and undoes, as templates with `{schema}` and the like.

    Invariant: a version that has indexes, and the first one, can be run again on tables where it ran before, in whole
    or in part: it is the marker, set after the last index, that says that it was done. Its indexes may be built
    outside of a transaction, so whoever fails among them begins anew; and a script made without a database runs a
    second time where two branches of a history carry the same operation.

    Args:
        upgrade: statements of one transaction.
        downgrade: statements that take all of it back, indexes as well.
        indexes: built after the statements, CONCURRENTLY where the table has rows and that is possible.
        functions, triggers: what the statements make of these, for whoever looks whether they are there.
        obstacle: a query for the sentence that says why it cannot be run, NULL where it can.
    """

    upgrade: tuple[str, ...]
    downgrade: tuple[str, ...]
    indexes: tuple[Index, ...] = ()
    functions: tuple[str, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    obstacle: str | None = None

    def body(self, function: str) -> str:
        """What a function does, as a template."""
        return next(
            statement.split("$oban$")[1]
            for statement in self.upgrade
            if statement.lstrip().startswith(f"CREATE OR REPLACE FUNCTION {{schema}}.{function}(")
        )

    def builds(self, *, concurrently: bool) -> Iterator[str]:
        """The statements that make the indexes.

        A build that failed leaves an index behind that is written and never read, and whose name is taken.
        """
        if self.indexes:
            yield DROP_INVALID.replace("{names}", self._names())
        yield from (index.made(concurrently=concurrently) for index in self.indexes)

    def end(self, stamp: str) -> str:
        """The statement that sets the marker by `stamp`, if all indexes are there and can be used.

        A name that is taken by something else lets PostgreSQL pass over the index, and a script may be run by someone
        who goes on after an error.
        """
        return END.replace("{names}", self._names()).replace("{stamp}", stamp) if self.indexes else stamp

    def _names(self) -> str:
        return ", ".join(f"'{index.name}'" for index in self.indexes)


DROP_INVALID = """
DO $oban$
DECLARE
  broken regclass;
BEGIN
  FOR broken IN SELECT indexrelid FROM pg_index
    WHERE NOT indisvalid AND indrelid = to_regclass({jobs_literal})
      AND indexrelid IN (SELECT to_regclass(quote_ident({schema_literal}) || '.' || name)
                           FROM unnest(ARRAY[{names}]) name)
  LOOP
    EXECUTE 'DROP INDEX ' || broken;
  END LOOP;
END $oban$
"""

END = """
DO $oban$
DECLARE
  missing text;
BEGIN
  SELECT string_agg(name, ', ') INTO missing FROM unnest(ARRAY[{names}]) name
   WHERE NOT EXISTS (
     SELECT FROM pg_index WHERE indisvalid AND indrelid = to_regclass({jobs_literal})
        AND indexrelid = to_regclass(quote_ident({schema_literal}) || '.' || name));
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION USING MESSAGE = 'these indexes of oban_jobs could not be made, see what else has their name: '
      || missing;
  END IF;
  {stamp};
END $oban$
"""
