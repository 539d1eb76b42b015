"""What of a table is the library's, so that the host's additions can be told from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import MetaData, Table


@dataclass(frozen=True, slots=True)
class Owned:
    """The names that the library uses in one table.

    Args:
        columns: its columns.
        names: its indexes and constraints.
    """

    columns: frozenset[str]
    names: frozenset[str]


def owned(metadata: MetaData) -> Mapping[str, Owned]:
    """What `metadata` holds at this moment, by the names of its tables."""
    return {
        table.name: Owned(
            frozenset(table.columns.keys()),
            frozenset(str(name) for name in _names(table)),
        )
        for table in metadata.tables.values()
    }


def _names(table: Table) -> Iterator[object]:
    yield from (index.name for index in table.indexes)
    yield from (constraint.name for constraint in table.constraints)
