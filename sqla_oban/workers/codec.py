"""Values of a parameter's annotation as JSON, and back."""

import collections.abc
import types
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from sqla_oban.errors import DeclarationError, InvalidArguments

JSON_TYPES = (None, types.NoneType, bool, int, float, str, list, dict, Any, object)
JSON_ORIGINS = (list, dict, Union, types.UnionType, Literal, collections.abc.Sequence, collections.abc.Mapping)


class Codec:
    """Stores values of one annotation and makes them anew.

    What msgspec converts: builtins, datetime, date, time, timedelta, UUID, Decimal, bytes, Enum, dataclasses,
    TypedDict, NamedTuple, msgspec's structs, and containers and unions of those; pydantic's models by themselves.
    Both ways are checked, strictly: `"1"` is no int.

    Args:
        annotation: the type; msgspec's constraints in `Annotated` are kept.
        parameter: as errors should name it.
        where: the worker, likewise.

    Raises:
        DeclarationError: JSON cannot tell values of this type apart, as of `datetime | str`.

    >>> from datetime import date
    >>> codec = Codec(list[date], "days", "shop.report")
    >>> codec.encode([date(2026, 11, 24)])
    ['2026-11-24']
    >>> codec.decode(['2026-11-24'])
    [datetime.date(2026, 11, 24)]
    """

    def __init__(self, annotation: Any, parameter: str, where: str) -> None:
        self._annotation = annotation
        self._parameter = parameter
        self._where = where
        self._is_json = is_json(annotation)
        self._is_scalar = annotation in (bool, int, float, str)
        try:
            msgspec.json.Decoder(annotation)
        except (TypeError, msgspec.ValidationError) as error:
            raise DeclarationError(f"{where}: the annotation of {parameter!r} cannot be stored: {error}") from None

    def encode(self, value: object) -> object:
        """`value` as builtins; one of a JSON type is left as it is, for the job to copy.

        Raises:
            InvalidArguments: it does not fit the annotation.
        """
        try:
            stored = value if self._is_json else msgspec.to_builtins(value, str_keys=True, enc_hook=_dumped)
        except (TypeError, ValueError) as error:
            raise self._misfit(error) from None
        self.decode(stored)
        return stored

    def decode(self, stored: object) -> Any:
        """The value that was stored.

        Raises:
            InvalidArguments: what is stored does not fit the annotation; says where in it.
        """
        if self._is_scalar and type(stored) is self._annotation:
            return stored
        try:
            return msgspec.convert(stored, self._annotation, str_keys=True, dec_hook=_made)
        except (TypeError, ValueError) as error:
            raise self._misfit(error) from None

    def _misfit(self, error: Exception) -> InvalidArguments:
        problem = str(error).replace("`$", f"`{self._parameter}")
        return InvalidArguments(f"{self._where}: the argument {self._parameter!r} does not fit: {problem}")


def is_json(annotation: Any) -> bool:
    """Whether values of a type are JSON as they are.

    >>> is_json(dict[str, list[int]] | None), is_json(dict[int, str])
    (True, False)
    """
    if annotation in JSON_TYPES:
        return True
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return all(isinstance(one, str | int | None) for one in inner)
    if origin in (dict, collections.abc.Mapping) and inner[0] is not str:
        return False
    return origin in JSON_ORIGINS and all(is_json(one) for one in inner)


def _dumped(value: Any) -> object:
    """A pydantic model, known by its methods, so that pydantic need not be installed."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"JSON cannot express a {type(value).__qualname__}")


def _made(kind: Any, stored: object) -> object:
    if not hasattr(kind, "model_validate_json"):
        raise TypeError(f"nothing is known of how to make a {kind.__qualname__} from JSON")
    try:
        return kind.model_validate_json(msgspec.json.encode(stored))
    except ValueError as error:
        raise ValueError(_told(error)) from None


def _told(error: Any) -> str:
    """The first of the faults that pydantic found, in a line, with where it is."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{first['msg']} - at `{place}`" if place else str(first["msg"])
