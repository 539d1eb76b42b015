"""Single values: what TOML has as such, and what the environment has as text."""

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

NONE = "none"
"""TOML has no word for nothing: "none" says that there is no limit, where a field may be None."""

SCALARS: Mapping[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    timedelta: "a number of seconds",
    type(None): f'"{NONE}"',
}
"""The types, and what they ask for, as a message says it."""

BOOLEANS = {"true": True, "false": False}


class Unfit(Exception):
    """A value is not of a type; another alternative may suit it."""


def scalar(kind: Any, value: object, *, written: bool) -> Any:
    """`value` as a `kind`.

    Args:
        kind: one of `SCALARS`.
        value: what stands there.
        written: whether it is a str to be read first, as the environment has nothing else.

    Raises:
        Unfit: it is none. A bool is no number here, nor is a str that looks like one.

    >>> scalar(int, "7", written=True), scalar(float, 7, written=False), scalar(type(None), "none", written=False)
    (7, 7, None)
    """
    if kind is type(None):
        return _fitting(None if value == NONE else value, kind)
    if kind is timedelta:
        with contextlib.suppress(OverflowError, ValueError):
            return timedelta(seconds=scalar(float, value, written=written))
        raise Unfit
    if written and isinstance(value, str) and kind is not str:
        value = _parsed(kind, value)
    return _fitting(value, *((int, float) if kind is float else (kind,)))


def _parsed(kind: Any, value: str) -> object:
    if kind is bool:
        return BOOLEANS.get(value.lower())
    try:
        return kind(value)
    except ValueError:
        raise Unfit from None


def _fitting(value: object, *kinds: type[Any]) -> object:
    if type(value) not in kinds:
        raise Unfit
    return value
