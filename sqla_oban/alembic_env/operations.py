"""`op.oban_upgrade` and `op.oban_downgrade`."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import text

from sqla_oban import migrations
from sqla_oban.errors import ConfigurationError, ObanError


class Move(MigrateOperation):
    """From one version of the tables to another.

    Args:
        to_version: where to stop.
        from_version: where it begins, which only a script without a database relies on.
        schema: of the tables; default: the search path's first, in a script `public`.
        concurrently: how indexes are built; see `Upgrade.oban_upgrade`.
    """

    name: str

    def __init__(
        self, to_version: int, *, from_version: int, schema: str | None = None, concurrently: bool | None = None
    ) -> None:
        self.to_version = to_version
        self.from_version = from_version
        self.schema = schema
        self.concurrently = concurrently

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return self.name, f"version {self.from_version} -> {self.to_version}", self.schema


@Operations.register_operation("oban_upgrade")
class Upgrade(Move):
    """Brings the tables up."""

    name = "oban_upgrade"

    @classmethod
    def oban_upgrade(
        cls,
        operations: Operations,
        to_version: int,
        *,
        from_version: int = 0,
        schema: str | None = None,
        concurrently: bool | None = None,
    ) -> None:
        """Bring the tables to `to_version`; does nothing where they are there, as when two branches are merged.

        Tables that oban.py or Oban for Elixir made are adopted, with every job in them.

        Args:
            operations: alembic's.
            to_version: where to stop.
            from_version: where it begins, for scripts made by `--sql`.
            schema: of the tables; default: the search path's first, in a script `public`.
            concurrently: whether indexes are built CONCURRENTLY, for which the transaction is committed and another
                begun afterwards. Default: where `oban_jobs` has rows, which a script cannot know and takes for no.

        Raises:
            CommandError: this release does not know that version, the tables there cannot be adopted, another
                deployment builds indexes at this moment, or `env.py` itself began the transaction that is to be left.
        """
        operations.invoke(cls(to_version, from_version=from_version, schema=schema, concurrently=concurrently))

    def reverse(self) -> "Downgrade":
        """Back again."""
        return Downgrade(self.from_version, from_version=self.to_version, schema=self.schema)


@Operations.register_operation("oban_downgrade")
class Downgrade(Move):
    """Takes the tables back."""

    name = "oban_downgrade"

    @classmethod
    def oban_downgrade(
        cls, operations: Operations, to_version: int, *, from_version: int, schema: str | None = None
    ) -> None:
        """Take the tables back to `to_version`; 0 drops them and the jobs in them, or gives back adopted ones.

        Args:
            operations: alembic's.
            to_version: where to stop.
            from_version: where it begins, for scripts made by `--sql`.
            schema: of the tables; default: the search path's first, in a script `public`.

        Raises:
            CommandError: this release does not know that version.
        """
        operations.invoke(cls(to_version, from_version=from_version, schema=schema))

    def reverse(self) -> Upgrade:
        """Up again."""
        return Upgrade(self.from_version, from_version=self.to_version, schema=self.schema)


@Operations.implementation_for(Upgrade)
def _upgrade(operations: Operations, move: Upgrade) -> None:
    context = operations.get_context()
    with refused():
        if context.as_sql:
            script = migrations.script(
                move.schema or "public",
                start=move.from_version,
                version=move.to_version,
                create_schema=move.schema is not None,
                concurrently=bool(move.concurrently),
            )
            _write(operations, script)
        else:
            outside = None if move.concurrently is False else lambda: _outside(context)
            migrations.migrate(operations.get_bind(), version=move.to_version, schema=move.schema, outside=outside)


@contextmanager
def _outside(context: MigrationContext) -> Iterator[None]:
    """Alembic's own way out of its transaction, which it has only out of one that it began."""
    connection = context.connection
    if context._transaction is None and connection is not None and connection.in_transaction():  # noqa: SLF001
        raise ConfigurationError(
            "oban_jobs has rows, so its indexes are built CONCURRENTLY, which cannot be done in a transaction that "
            "env.py began: let `with context.begin_transaction()` begin it, or write `concurrently=False` into "
            "op.oban_upgrade(...), which keeps everyone from writing into oban_jobs meanwhile"
        )
    with context.autocommit_block():
        yield


@Operations.implementation_for(Downgrade)
def _downgrade(operations: Operations, move: Downgrade) -> None:
    with refused():
        if operations.get_context().as_sql:
            home = move.schema or "public"
            _write(operations, migrations.downgrade_script(home, start=move.from_version, version=move.to_version))
        else:
            migrations.downgrade(operations.get_bind(), version=move.to_version, schema=move.schema)


@contextmanager
def refused() -> Iterator[None]:
    """What we refuse is an error of alembic's, so that its command line shows the sentence and not a traceback."""
    try:
        yield
    except ObanError as error:
        raise CommandError(str(error)) from error


def _write(operations: Operations, statements: Iterable[str]) -> None:
    for statement in statements:
        operations.execute(text(statement.replace(":", r"\:")))  # a colon here is a cast, never a parameter


@renderers.dispatch_for(Upgrade)
@renderers.dispatch_for(Downgrade)
def _render(context: AutogenContext, move: Move) -> str:
    """A line of a revision, which imports what it needs, so that it runs under any `env.py`."""
    context.imports.add("import sqla_oban.alembic_env")
    schema = "" if move.schema is None else f", schema={move.schema!r}"
    return f"op.{move.name}({move.to_version}, from_version={move.from_version}{schema})"
