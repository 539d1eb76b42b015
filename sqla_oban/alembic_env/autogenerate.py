"""What `alembic revision --autogenerate` and `alembic check` make of our tables.

The versions know what alembic cannot see: functions, triggers, predicates of indexes, storage parameters. So whatever
alembic finds to do about a table, column, index or constraint of ours is dropped, and where the database is behind this
release one operation is put in the place of all. What the host added to our tables stays its own, and what another
Oban library made stays that library's.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import DispatchPriority, PriorityDispatchResult, warn
from sqlalchemy import Connection, ForeignKeyConstraint, MetaData, Table, UniqueConstraint

from sqla_oban.alembic_env.operations import Upgrade, refused
from sqla_oban.errors import SchemaMismatch
from sqla_oban.migrations import current_version, required_version
from sqla_oban.migrations.adoption import FOREIGN_NAMES, FOREIGN_TABLES
from sqla_oban.models import OWNED

Key = tuple[str | None, str]


@comparators.dispatch_for("autogenerate", qualifier="postgresql", priority=DispatchPriority.LAST)
def compare(context: AutogenContext, found: ops.UpgradeOps) -> None:
    """Put the operations of ours in the place of what alembic found about our tables.

    Raises:
        CommandError: the database is ahead of this release.
    """
    connection = context.connection
    if connection is None:
        return
    with refused():
        _compare(context, connection, found)


@comparators.dispatch_for("column", qualifier="postgresql", subgroup="server_default", priority=DispatchPriority.FIRST)
def compare_default(*asked: Any) -> PriorityDispatchResult:
    """Keep alembic from comparing the defaults of our columns.

    It has PostgreSQL do so, which refuses where another library made the column of another type.
    """
    _, _, _, table, column, *_ = asked
    ours = table in OWNED and column in OWNED[table].columns
    return PriorityDispatchResult.STOP if ours else PriorityDispatchResult.CONTINUE


def _compare(context: AutogenContext, connection: Connection, found: ops.UpgradeOps) -> None:
    declared = {table.schema for table in _tables(context.metadata) if table.name == "oban_jobs" and _is_ours(table)}
    if not declared and current_version(connection) < required_version():
        warn(
            "env.py imports sqla_oban.alembic_env, but its target_metadata does not list sqla_oban.metadata: "
            "the tables of sqla_oban, which are behind in this database, are not looked after"
        )
    moves = [move for schema in sorted(declared, key=str) if (move := _move(connection, schema)) is not None]
    creates = [
        one for one in found.ops if isinstance(one, ops.CreateTableOp) and _concerns_us(one, connection, declared)
    ]
    theirs = list(_without_ours(found.ops, connection, declared))
    found.ops[:] = [*moves, *theirs, *(one for create in creates for one in _constraints(create))]


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
        if not _concerns_us(one, connection, declared):
            yield one
        elif isinstance(one, ops.CreateTableOp):
            yield from _additions(one)
        elif isinstance(one, ops.ModifyTableOps):
            one.ops = [change for change in one.ops if not _is_about_ours(change, one.table_name)]
            if one.ops:
                yield one
        elif not isinstance(one, ops.DropTableOp) and not _is_about_ours(one, getattr(one, "table_name", "")):
            yield one


def _concerns_us(one: ops.MigrateOperation, connection: Connection, declared: set[str | None]) -> bool:
    schema, table = getattr(one, "schema", None), getattr(one, "table_name", "")
    is_foreign = table in FOREIGN_TABLES and isinstance(one, ops.DropTableOp | ops.DropIndexOp)
    if table not in OWNED and not is_foreign:
        return False
    return schema in declared or current_version(connection, schema=schema) > 0


def _additions(create: ops.CreateTableOp) -> Iterator[ops.MigrateOperation]:
    """The host's own columns of a table of ours that is to be made."""
    own = [column for column in create.to_table().columns if column.name not in OWNED[create.table_name].columns]
    if own:
        add: list[ops.MigrateOperation] = [
            ops.AddColumnOp(create.table_name, column._copy(), schema=create.schema)  # noqa: SLF001 (as alembic does)
            for column in own
        ]
        yield ops.ModifyTableOps(create.table_name, add, schema=create.schema)


def _constraints(create: ops.CreateTableOp) -> Iterator[ops.MigrateOperation]:
    """The host's own constraints of a table of ours that is to be made; last, when the tables they refer to are there.

    One without a name gets that which PostgreSQL would give it, so that the downgrade knows what to drop.
    """
    for constraint in sorted(create.to_table().constraints, key=lambda one: str(one.name)):
        if not isinstance(constraint, ForeignKeyConstraint | UniqueConstraint):
            continue
        if constraint.name is None:
            kind = "fkey" if isinstance(constraint, ForeignKeyConstraint) else "key"
            constraint.name = "_".join([create.table_name, *constraint.columns.keys(), kind])
        if str(constraint.name) not in OWNED[create.table_name].names:
            yield ops.AddConstraintOp.from_constraint(constraint)


def _is_about_ours(change: Any, table: str) -> bool:
    """Whether a change is about something that the versions make; told by its name, which the versions fix."""
    if table not in OWNED:
        return True
    match change:
        case ops.AddColumnOp():
            return change.column.name in OWNED[table].columns
        case ops.DropColumnOp() | ops.AlterColumnOp():
            return change.column_name in OWNED[table].columns
        case ops.CreateIndexOp() | ops.DropIndexOp():
            return change.index_name in OWNED[table].names | FOREIGN_NAMES
        case ops.AddConstraintOp() | ops.DropConstraintOp():
            return str(getattr(change, "constraint_name", None)) in OWNED[table].names
        case _:
            return isinstance(change, ops.CreateTableCommentOp | ops.DropTableCommentOp)


def _tables(metadata: MetaData | Iterable[MetaData] | None) -> Iterator[Table]:
    for one in [metadata] if isinstance(metadata, MetaData) else metadata or ():
        yield from one.tables.values()


def _is_ours(table: Table) -> bool:
    return "sqla_oban" in table.info
