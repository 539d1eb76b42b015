"""Values that go through JSON and PostgreSQL and come back the same."""

import math
from typing import TypeAlias

from sqla_oban.errors import UnserialisableValue, shown

MAX_DEPTH = 200
"""Deeper nesting is a mistake, and would exhaust the stack of one of the many parsers between here and a worker."""

Path: TypeAlias = "str | tuple[Path, object]"
"""Where a value is: what the whole is called, or a place inside of a place. Written out only for an error."""


def snapshot(value: object, what: str) -> object:
    """A deep copy of `value` as JSON gives it back, taken now so that later changes to `value` do not leak in.

    Tuples come back as lists; everything else either comes back equal or is refused here, where the caller can see
    which value it was, rather than at the flush or in a worker.

    Args:
        value: None, bool, int, finite float, str, list, tuple or dict with str keys, nested at will.
        what: what the value is, as the error message should name it.

    Raises:
        UnserialisableValue: for anything else, for NaN and infinity, for text with NUL or lone surrogates, for
            integers of more than 4,300 digits, for cycles and for nesting deeper than 200.

    >>> snapshot({"to": ("a", 1)}, "args")
    {'to': ['a', 1]}
    """
    return _copy(value, what, 0)


def is_storable(text: object) -> bool:
    """Whether that is a text that PostgreSQL can store, as it is.

    >>> is_storable("a"), is_storable("a\\x00"), is_storable(7)
    (True, False, False)
    """
    return isinstance(text, str) and _problem_of_text(text) is None


def storable_text(text: str) -> str:
    """`text` with what PostgreSQL cannot store replaced: NUL by U+FFFD, a lone surrogate by a question mark.

    >>> storable_text("a\\x00b")
    'a\ufffdb'
    """
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _copy(value: object, path: Path, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise UnserialisableValue(
            f"{_written(path)[:80]}... is nested deeper than {MAX_DEPTH} levels or contains itself"
        )
    if isinstance(value, dict):
        return {_key(key, path): _copy(item, (path, key), depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item, (path, index), depth + 1) for index, item in enumerate(value)]
    return _leaf(value, path)


def _key(key: object, path: Path) -> str:
    if not isinstance(key, str):
        raise UnserialisableValue(f"{_written(path)} has the key {shown(key)}; JSON objects have str keys only")
    if problem := _problem_of_text(key):
        raise UnserialisableValue(f"the key {key!r} of {_written(path)} {problem}")
    return str.__str__(key)


def _leaf(leaf: object, path: Path) -> object:
    """The value as one of JSON's own types, of which members of a StrEnum or an IntEnum are no exact instances."""
    copy: str | float = 0
    match leaf:
        case None | bool():
            return leaf
        case str():
            problem, copy = _problem_of_text(leaf), str.__str__(leaf)
        case int():
            problem, copy = _problem_of_integer(leaf), int.__int__(leaf)
        case float():
            problem, copy = _problem_of_float(leaf), _exact(leaf)
        case _ if hasattr(leaf, "_sa_instance_state"):
            kind = type(leaf).__qualname__
            problem = f"is a row of {kind}: annotate the parameter with that class, or pass the key of its row"
        case _:
            problem = f"is a {type(leaf).__qualname__}, which JSON cannot express"
    if problem:
        raise UnserialisableValue(f"{_written(path)} {problem}")
    return copy


def _written(path: Path) -> str:
    """As it would be reached in Python.

    >>> _written((("args", "to"), 0))
    "args['to'][0]"
    """
    steps = []
    while isinstance(path, tuple):
        path, step = path
        steps.append(f"[{step!r}]")
    return path + "".join(reversed(steps))


def _problem_of_text(text: str) -> str | None:
    if "\x00" in text:
        return "contains a NUL character, which PostgreSQL cannot store"
    if not text.isascii() and text.encode("utf-8", "replace").decode() != text:
        return "contains a lone surrogate, which is not valid text"
    return None


def _problem_of_integer(number: int) -> str | None:
    return "is an integer of more than 4,300 digits" if abs(number) >= TOO_LONG else None


def _problem_of_float(number: float) -> str | None:
    return None if math.isfinite(number) else f"is {number}, which JSON cannot express"


def _exact(number: float) -> float:
    """A float that is written with an exponent, as from 1e16 on, comes back from PostgreSQL as an integer of just
    those digits (1e23 as 10**23, which is more), unless it goes there as the integer that it is.
    """
    return int(number) if 1e16 <= abs(number) < math.inf else float.__float__(number)


TOO_LONG = 10**4_300
"""The smallest integer of 4,301 digits: Python refuses to parse such from text."""
