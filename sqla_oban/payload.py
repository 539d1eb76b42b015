"""Values that go through JSON and PostgreSQL and come back the same."""

import json
import math
from collections.abc import Iterator

from sqla_oban.errors import UnserialisableValue, shown

MAX_DEPTH = 200
"""Deeper nesting is a mistake, and would exhaust the stack of one of the many parsers between here and a worker."""


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
    for path, leaf in _leaves(value, what, 0):
        if problem := _problem(leaf):
            raise UnserialisableValue(f"{path} {problem}")
    return json.loads(json.dumps(value), parse_float=_exact)


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


def _leaves(value: object, path: str, depth: int) -> Iterator[tuple[str, object]]:
    if depth > MAX_DEPTH:
        raise UnserialisableValue(f"{path[:80]}... is nested deeper than {MAX_DEPTH} levels or contains itself")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise UnserialisableValue(f"{path} has the key {shown(key)}; JSON objects have str keys only")
            yield f"the key {key!r} of {path}", key
            yield from _leaves(item, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]", depth + 1)
    else:
        yield path, value


def _problem(leaf: object) -> str | None:
    match leaf:
        case None | bool():
            return None
        case str():
            return _problem_of_text(leaf)
        case int():
            return "is an integer of more than 4,300 digits" if abs(leaf) >= TOO_LONG else None
        case float():
            return None if math.isfinite(leaf) else f"is {leaf}, which JSON cannot express"
        case _ if hasattr(leaf, "_sa_instance_state"):
            return f"is a {type(leaf).__qualname__}: annotate the parameter with that class, or pass the key of its row"
        case _:
            return f"is a {type(leaf).__qualname__}, which JSON cannot express"


def _exact(text: str) -> float:
    """A float that is written with an exponent, as from 1e16 on, comes back from PostgreSQL as an integer of just
    those digits (1e23 as 10**23, which is more), unless it goes there as the integer that it is.
    """
    number = float(text)
    return int(number) if abs(number) >= 1e16 else number


def _problem_of_text(text: str) -> str | None:
    if "\x00" in text:
        return "contains a NUL character, which PostgreSQL cannot store"
    if not text.isascii() and text.encode("utf-8", "replace").decode() != text:
        return "contains a lone surrogate, which is not valid text"
    return None


TOO_LONG = 10**4_300
"""The smallest integer of 4,301 digits: Python refuses to parse such from text."""
