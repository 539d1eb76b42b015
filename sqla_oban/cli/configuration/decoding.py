"""From what a file or the environment holds to what a type asks for.

The types are those that the settings' dataclasses are annotated with, so a new field can be set at once.
"""

import inspect
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Union

from sqla_oban.cli.configuration.scalars import SCALARS, Unfit, scalar
from sqla_oban.cli.configuration.sources import Source
from sqla_oban.errors import ConfigurationError, UnknownOption, shown

Path = tuple[str, ...]


def decoded(kind: Any, value: object, source: Source, path: Path) -> Any:
    """`value`, which stands at `path` in `source`, as a `kind`.

    Raises:
        ConfigurationError: it is none; the message names the setting and its place.
        UnknownOption: a table has a key that does not exist.
    """
    alternatives = _alternatives(kind)
    for alternative in alternatives:
        try:
            return _read(alternative, value, source, path)
        except Unfit:
            continue
    words = " or ".join(dict.fromkeys(_words(alternative) for alternative in alternatives))
    raise ConfigurationError(f"{source.named(path)} must be {words}, got {shown(value)}")


def decoded_fields(kind: type[Any], value: object, source: Source, path: Path) -> dict[str, Any]:
    """The fields of the dataclass `kind` that the table `value` sets.

    Raises:
        ConfigurationError: it is no table, or a value is of another type.
        UnknownOption: there is no such field.
    """
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{source.named(path)} must be a table, got {shown(value)}")
    hints = typing.get_type_hints(kind)
    known = {field.name: hints[field.name] for field in fields(kind) if field.init}
    refuse_unknown(value, known, source, path)
    return {name: decoded(known[name], item, source, (*path, name)) for name, item in value.items()}


def refuse_unknown(names: Iterable[str], known: Collection[str], source: Source, path: Path = ()) -> None:
    """Make sure that every name is known.

    Raises:
        UnknownOption: one is not; the message has the closest one.
    """
    for name in names:
        if name not in known:
            raise UnknownOption(name, known, source.named(path))


def _alternatives(kind: Any) -> list[Any]:
    """The members of a union, those first that are hardest to please.

    Text suits any word, so beside it "none" is a word like others.
    """
    members = list(typing.get_args(kind)) if typing.get_origin(kind) in (Union, types.UnionType) else [kind]
    ease = {timedelta: 1, str: 2, type(None): 3 if str in members else 0}
    return sorted(members, key=lambda member: ease.get(member, 0))


def _read(kind: Any, value: Any, source: Source, path: Path) -> Any:
    origin = typing.get_origin(kind) or kind
    if origin in SCALARS:
        return scalar(origin, value, written=source.written)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _member(origin, value)
    if is_dataclass(origin) and isinstance(value, Mapping):
        return _made(origin, value, source, path)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return _table(typing.get_args(kind), value, source, path)
    if isinstance(origin, type) and issubclass(origin, Collection) and not issubclass(origin, Mapping):
        return _array(origin, typing.get_args(kind), value, source, path)
    raise Unfit


def _made(kind: Any, value: Mapping[str, Any], source: Source, path: Path) -> Any:
    given = decoded_fields(kind, value, source, path)
    needed = [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    if missing := [name for name in needed if name not in given]:
        raise ConfigurationError(f"{source.named(path)} needs {missing[0]!r} as well")
    try:
        return kind(**given)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source.named(path)}: {error}") from None


def _member(kind: type[Enum], value: object) -> Enum:
    try:
        return kind(value)
    except ValueError:
        raise Unfit from None


def _table(kinds: tuple[Any, ...], value: Mapping[str, Any], source: Source, path: Path) -> dict[Any, Any]:
    key, item = kinds or (str, Any)
    if isinstance(key, type) and issubclass(key, Enum):
        refuse_unknown(value, {member.value for member in key}, source, path)
    else:
        key = str
    return {key(name): decoded(item, one, source, (*path, name)) for name, one in value.items()}


def _array(kind: type[Any], kinds: tuple[Any, ...], value: object, source: Source, path: Path) -> Any:
    if source.written and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list):
        raise Unfit
    item = kinds[0] if kinds else str
    items = (decoded(item, one, source, (*path, str(place))) for place, one in enumerate(value))
    return tuple(items) if inspect.isabstract(kind) else kind(items)


def _words(kind: Any) -> str:
    """What is asked for, as a message says it."""
    origin = typing.get_origin(kind) or kind
    if origin in SCALARS:
        return SCALARS[origin]
    if isinstance(origin, type) and issubclass(origin, Enum):
        return " or ".join(f'"{member.value}"' for member in origin)
    if is_dataclass(origin) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "a table"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return "an array"
    return "set in Python"
