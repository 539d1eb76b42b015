"""Which of the jobs that are looked through are shown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import ColumnElement, SmallInteger, Text, bindparam, cast, func, literal, literal_column
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.errors import InvalidSelection, shown
from sqla_oban.models.job import JOB_STATE
from sqla_oban.payload import is_storable
from sqla_oban.states import JobState


@dataclass(frozen=True, slots=True)
class PathFilter:
    """What is to be found at `path` within a JSON object; `value` as text, so that 7 finds 7 and "7".

    Among args, an entity that is stored by its key is found by that key.
    """

    path: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Jobs that fulfil all of these; of several values in one field, any. Empty fields say nothing.

    Attributes:
        words: parts of the worker's name, all of which must be in it.
        args, meta: what is to be found in these, all of it.

    Raises:
        InvalidSelection: PostgreSQL stores no such text.

    >>> JobFilter(states=(JobState.RETRYABLE,), queues=("mailers",)).is_empty
    False
    """

    states: tuple[JobState, ...] = ()
    ids: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    priorities: tuple[int, ...] = ()
    args: tuple[PathFilter, ...] = ()
    meta: tuple[PathFilter, ...] = ()

    def __post_init__(self) -> None:
        paths = (text for one in (*self.args, *self.meta) for text in (*one.path, one.value))
        for text in (*self.words, *self.queues, *self.workers, *self.tags, *self.nodes, *paths):
            if not is_storable(text):
                raise InvalidSelection(f"no job can have {shown(text)}, which PostgreSQL does not store")

    @property
    def is_empty(self) -> bool:
        """Whether it lets every job pass."""
        return not any(getattr(self, field.name) for field in fields(self))


COLUMNS: Final[Mapping[str, str]] = {
    "states": "state",
    "ids": "id",
    "words": "worker",
    "queues": "queue",
    "workers": "worker",
    "tags": "tags",
    "nodes": "attempted_by",
    "priorities": "priority",
    "args": "args",
    "meta": "meta",
}
"""The columns of a job at which each field of a filter looks."""


def columns_of(wanted: JobFilter) -> set[str]:
    """The columns at which a filter looks."""
    return {column for field, column in COLUMNS.items() if getattr(wanted, field)}


def conditions(wanted: JobFilter, columns: Any) -> list[ColumnElement[bool]]:
    """What a row with the columns of a job must fulfil."""
    tests: Mapping[str, Callable[[Any], list[ColumnElement[bool]]]] = {
        "states": lambda states: [columns.state.in_([cast(literal(one, Text), JOB_STATE) for one in states])],
        "ids": lambda ids: [columns.id.in_(ids)],
        "words": lambda words: [func.strpos(columns.worker, word) > literal_column("0") for word in words],
        "queues": lambda queues: [columns.queue.in_(queues)],
        "workers": lambda workers: [columns.worker.in_(workers)],
        "tags": lambda tags: [columns.tags.op("&&")(literal(list(tags), ARRAY(Text)))],
        "nodes": lambda nodes: [columns.attempted_by.op("[")(literal_column("1]", Text())).in_(nodes)],
        "priorities": lambda priorities: [columns.priority.in_([literal(one, SmallInteger) for one in priorities])],
        "args": lambda paths: [_found(columns.args, one) | _refers(columns.args, one) for one in paths],
        "meta": lambda paths: [_found(columns.meta, one) for one in paths],
    }
    return [test for name, make in tests.items() if (given := getattr(wanted, name)) for test in make(given)]


def _found(column: ColumnElement[Any], wanted: PathFilter) -> ColumnElement[bool]:
    return _at(column, *wanted.path) == literal(wanted.value, Text)


def _refers(column: ColumnElement[Any], wanted: PathFilter) -> ColumnElement[bool]:
    """Whether at the path is an entity whose key is the value, alone: of a key of several columns it is no part."""
    key = _at(column, *wanted.path, "pk", "0") == literal(wanted.value, Text)
    return key & _at(column, *wanted.path, "pk", "1").is_(None) & _at(column, *wanted.path, "$entity").is_not(None)


def _at(column: ColumnElement[Any], *path: str) -> ColumnElement[str]:
    return column.op("#>>", return_type=Text())(bindparam(None, list(path), type_=ARRAY(Text), unique=True))
