"""What somebody who looks for jobs has typed: `queue:mailers tag:urgent,late args.user.id:7 priority:0 receipt`."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqla_oban.control.selection import LARGEST
from sqla_oban.errors import InvalidSelection, shown
from sqla_oban.payload import is_storable
from sqla_oban.queries.filters import JobFilter, PathFilter

MOST_TEXT: Final = 2_000
"""Characters that may be typed."""

QUALIFIERS: Final[Mapping[str, str]] = {
    "id": "ids",
    "queue": "queues",
    "worker": "workers",
    "tag": "tags",
    "node": "nodes",
    "priority": "priorities",
}
"""What is written before the colon, and the field of the filter that it means."""


def parsed(text: str) -> JobFilter:
    """The filter that is meant.

    Words are separated by spaces; quotes hold together what has some. `a,b` means either, except for what is looked for
    within `args` and `meta`. A number by itself is an id, and any other word a part of a worker's name.

    Raises:
        InvalidSelection: it cannot be understood.

    >>> parsed("queue:mailers,media receipt").queues
    ('mailers', 'media')
    """
    if len(text) > MOST_TEXT or not is_storable(text):
        raise InvalidSelection(f"a search has up to {MOST_TEXT} characters, all of which can be stored")
    try:
        words = shlex.split(text)
    except ValueError:
        raise InvalidSelection(f"the search {shown(text)} has a quote that does not end") from None
    found: dict[str, tuple[Any, ...]] = {}
    for word in words:
        field, values = _read(word)
        found[field] = (*found.get(field, ()), *values)
    return JobFilter(**found)


def _read(word: str) -> tuple[str, tuple[Any, ...]]:
    qualifier, colon, value = word.partition(":")
    head, dot, path = qualifier.partition(".")
    if colon and head in ("args", "meta") and dot and path and value:
        return head, (PathFilter(tuple(path.split(".")), value),)
    if colon and value and (field := QUALIFIERS.get(qualifier.removesuffix("s"))):
        return field, tuple(CASTS.get(field, str)(one) for one in value.split(",") if one)
    if word.isascii() and word.isdecimal():
        return "ids", (_id(word),)
    if colon:
        known = ", ".join((*(f"{name}:" for name in QUALIFIERS), "args.path:", "meta.path:"))
        raise InvalidSelection(f"{shown(word)} is nothing to look for; known: {known}")
    return "words", (word,)


def _id(text: str) -> int:
    return _number(text, LARGEST, "an id")


def _priority(text: str) -> int:
    return _number(text, 32_767, "a priority")


def _number(text: str, most: int, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise InvalidSelection(f"{what} is a number from 0 to {most}, got {shown(text)}")
    return int(text)


CASTS: Final[Mapping[str, Callable[[str], Any]]] = {"ids": _id, "priorities": _priority}
