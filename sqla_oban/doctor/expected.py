"""What the newest migration leaves behind: what the models and the migrations say of themselves."""

from dataclasses import dataclass

from sqlalchemy import Index, Table
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateIndex

from sqla_oban.migrations import VERSIONS
from sqla_oban.migrations.statements import rendered
from sqla_oban.migrations.version import Trigger
from sqla_oban.models import metadata


@dataclass(frozen=True, slots=True)
class Expected:
    """The parts that there have to be in a schema.

    Args:
        tables: ours, with their columns and indexes.
        functions: their bodies by their names.
        triggers: by their names.
        statements: what makes an index, by its name.
    """

    tables: tuple[Table, ...]
    functions: dict[str, str]
    triggers: dict[str, Trigger]
    statements: dict[str, str]


def expected(home: str) -> Expected:
    """What belongs into the schema `home`."""
    tables, versions = tuple(metadata.sorted_tables), VERSIONS.values()
    return Expected(
        tables=tables,
        functions={name: rendered(one.body(name), home) for one in versions for name in one.functions},
        triggers={trigger.name: trigger for one in versions for trigger in one.triggers},
        statements={str(index.name): _made(index, home) for table in tables for index in table.indexes},
    )


def _made(index: Index, home: str) -> str:
    dialect = PGDialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    statement = CreateIndex(index, if_not_exists=True).compile(
        dialect=dialect, schema_translate_map={None: home}, render_schema_translate=True
    )
    return " ".join(str(statement).split())
