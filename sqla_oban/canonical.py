"""One way to write each JSON value, so that what is equal is written equally."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any


def digest(value: object, reference: Callable[[Any], object]) -> str:
    """The whole SHA-256 of a value as canonical JSON: sorted keys, and one way to write each number.

    Args:
        value: JSON.
        reference: what stands for a value that JSON has no words for.
    """
    text = json.dumps(_canonical(value, reference), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: object, reference: Callable[[Any], object]) -> object:
    """What PostgreSQL's JSON takes for equal is written equally: 1 and 1.0 are one number."""
    match value:
        case Mapping():
            return {key: _canonical(one, reference) for key, one in value.items()}
        case list() | tuple():
            return [_canonical(one, reference) for one in value]
        case float():
            return int(value) if value.is_integer() else value
        case None | bool() | int() | str():
            return value
        case _:
            return _canonical(reference(value), reference)
