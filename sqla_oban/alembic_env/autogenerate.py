"""What `alembic revision --autogenerate` and `alembic check` make of our tables.

The versions know what alembic cannot see: functions, triggers, predicates of indexes, storage parameters. So whatever
alembic finds to do about a table, column, index or constraint of ours is dropped, and where the database is behind this
release one operation is put in the place of all. What the host added to our tables stays its own.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import DispatchPriority
from sqlalchemy import Connection, MetaData, Table

from sqla_oban.alembic_env.operations import Upgrade
from sqla_oban.errors import SchemaMismatch
from sqla_oban.migrations import current_version, required_version
from sqla_oban.models import OWNED

Key = tuple[str | None, str]


@comparators.dispatch_for("autogenerate", qualifier="postgresql", priority=DispatchPriority.LAST)
def compare(context: AutogenContext, found: ops.UpgradeOps) -> None:
    """Put the operations of ours in the place of what alembic found about our tables.

    Raises:
        SchemaMismatch: the database is ahead of this release.
    """
    connection = context.connection
    if connection is None:
        return
    declared = {table.schema for table in _tables(context.metadata) if table.name == "oban_jobs" and _is_ours(table)}
    moves = [move for schema in sorted(declared, key=str) if (move := _move(connection, schema)) is not None]
    found.ops[:] = [*moves, *_without_ours(found.ops, connection, declared)]


def _move(connection: Connection, schema: str | None) -> Upgrade | None:
    current, required = current_version(connection, schema=schema), required_version()
    if current > required:
        raise SchemaMismatch(
            f"the database has version {current} of the sqla_oban tables and this release knows only {required}: "
            "run `pip install --upgrade sqla-oban`"
        )
    return Upgrade(required, from_version=current, schema=schema) if current < required else None


def _without_ours(
    found: Iterable[ops.MigrateOperation], connection: Connection, declared: set[str | None]
) -> Iterator[ops.MigrateOperation]:
    for one in found:
        key: Key = getattr(one, "schema", None), getattr(one, "table_name", "")
        if key[1] not in OWNED or not (key[0] in declared or current_version(connection, schema=key[0])):
            yield one
        elif isinstance(one, ops.CreateTableOp):
            yield from _additions(one)
        elif isinstance(one, ops.ModifyTableOps):
            one.ops = [change for change in one.ops if not _is_about_ours(change, key[1])]
            if one.ops:
                yield one
        elif not isinstance(one, ops.DropTableOp) and not _is_about_ours(one, key[1]):
            yield one


def _additions(create: ops.CreateTableOp) -> Iterator[ops.MigrateOperation]:
    """The host's own columns of a table of ours that is to be made."""
    own = [column for column in create.to_table().columns if column.name not in OWNED[create.table_name].columns]
    if own:
        add: list[ops.MigrateOperation] = [
            ops.AddColumnOp(create.table_name, column._copy(), schema=create.schema)  # noqa: SLF001 (as alembic does)
            for column in own
        ]
        yield ops.ModifyTableOps(create.table_name, add, schema=create.schema)


def _is_about_ours(change: Any, table: str) -> bool:
    """Whether a change is about something that the versions make; told by its name, which the versions fix."""
    match change:
        case ops.AddColumnOp():
            return change.column.name in OWNED[table].columns
        case ops.DropColumnOp() | ops.AlterColumnOp():
            return change.column_name in OWNED[table].columns
        case ops.CreateIndexOp() | ops.DropIndexOp():
            return change.index_name in OWNED[table].names
        case ops.AddConstraintOp() | ops.DropConstraintOp():
            return str(getattr(change, "constraint_name", None)) in OWNED[table].names
        case ops.CreateTableCommentOp() | ops.DropTableCommentOp():
            return True
        case _:
            return False


def _tables(metadata: MetaData | Iterable[MetaData] | None) -> Iterator[Table]:
    for one in [metadata] if isinstance(metadata, MetaData) else metadata or ():
        yield from one.tables.values()


def _is_ours(table: Table) -> bool:
    return "sqla_oban" in table.info
