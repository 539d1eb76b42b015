"""Parameters that take a row of the application: stored by its key, loaded when the job runs."""

from typing import Any

import msgspec
from sqlalchemy.orm import Mapper

from sqla_oban.errors import InvalidArguments, shown
from sqla_oban.models.entity import Entity


class Reference:
    """A parameter annotated with a mapped class.

    Args:
        mapper: of that class.
        parameter: as errors should name it.
        where: the worker, likewise.
        optional: whether None may be given, and is given where the row is gone.
    """

    def __init__(self, mapper: Mapper[Any], parameter: str, where: str, *, optional: bool) -> None:
        self._mapper = mapper
        self._parameter = parameter
        self._where = where
        self.optional = optional

    @property
    def target(self) -> type[Any]:
        """The mapped class."""
        return self._mapper.class_

    def encode(self, value: object) -> Entity | None:
        """What the args of a job hold until its INSERT.

        Raises:
            InvalidArguments: that is no instance of the class.
        """
        if value is None and self.optional:
            return None
        if not isinstance(value, self.target):
            raise InvalidArguments(
                f"{self._where}: {self._parameter!r} takes a row of {self.target.__qualname__}, got "
                f"{shown(value)}; to pass a row's key, annotate the type of that"
            )
        return Entity(value)

    def decode(self, stored: object) -> tuple[Any, ...] | None:
        """The primary key that was stored, None where None was.

        Raises:
            InvalidArguments: that is no reference to such a row.
        """
        if stored is None and self.optional:
            return None
        key = stored.get("pk") if isinstance(stored, dict) else None
        columns = self._mapper.primary_key
        if not isinstance(key, list) or len(key) != len(columns):
            raise InvalidArguments(
                f"{self._where}: the argument {self._parameter!r} is no reference to a row of "
                f"{self.target.__qualname__}, got {shown(stored)}"
            )
        return tuple(self._converted(value, column) for value, column in zip(key, columns, strict=True))

    def gone(self, key: tuple[Any, ...]) -> str:
        """The reason for which a job whose row is gone is cancelled."""
        shown_key = ", ".join(str(value) for value in key)
        return f"the {self.target.__qualname__} {shown_key}, its argument {self._parameter!r}, no longer exists"

    def _converted(self, value: object, column: Any) -> Any:
        kind = _python_type(column)
        try:
            return value if kind is None else msgspec.convert(value, kind)
        except (TypeError, ValueError) as error:
            raise InvalidArguments(
                f"{self._where}: the argument {self._parameter!r} refers to no {self.target.__qualname__}: {error}"
            ) from None


def _python_type(column: Any) -> type[Any] | None:
    """What a key's column holds in Python; None where its type does not say, and takes what JSON gives."""
    try:
        kind: type[Any] = column.type.python_type
    except Exception:  # SQLAlchemy's way to say that a type has not declared one
        return None
    return kind
