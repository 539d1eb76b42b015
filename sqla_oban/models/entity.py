"""Rows of the application as arguments of a job: stored by their keys."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import Dialect, TypeDecorator, inspect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstanceState
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine

from sqla_oban.errors import InvalidEntity, shown


class Entity:
    """An instance of a mapped class among the args of a job that is not stored yet.

    Its key is read when the INSERT executes: until then a flush may still give it one, and a rollback take it away.

    Attributes:
        instance: the mapped instance.
        late: whether its key becomes known only after the job's INSERT, and is written by an UPDATE.
    """

    __slots__ = ("instance", "late")

    def __init__(self, instance: Any) -> None:
        self.instance = instance
        self.late = False

    def __repr__(self) -> str:
        return f"<entity {type(self.instance).__qualname__} {self.key()}>"

    @property
    def state(self) -> InstanceState[Any]:
        """What SQLAlchemy knows of the instance."""
        state: InstanceState[Any] = inspect(self.instance)
        return state

    def key(self) -> tuple[Any, ...] | None:
        """The primary key, None while it is not known. Emits no SQL.

        The loaded attributes come first: `identity` is the old key while a natural one is being changed, and there is
        none for a row that this very flush has inserted.
        """
        state = self.state
        names = (state.mapper.get_property_by_column(column).key for column in state.mapper.primary_key)
        held = tuple(state.dict.get(name) for name in names)
        unknown = any(value is None for value in held)  # not `None in held`: a value's own type may define equality
        return state.identity if unknown else held

    def reference(self) -> dict[str, Any]:
        """What is stored.

        Raises:
            InvalidEntity: there is no key to store, or it is of a type that JSON cannot express.
        """
        key = self.key()
        if key is None and not self.late:
            raise InvalidEntity(
                f"a job's argument is a row of {type(self.instance).__qualname__} that has no primary key yet; add it "
                "to the session of the job, or flush it first"
            )
        try:
            stored = None if key is None else msgspec.to_builtins(list(key))
        except (TypeError, ValueError) as error:
            raise InvalidEntity(
                f"the key of a row of {type(self.instance).__qualname__}, {shown(key)}, cannot be stored with a job: "
                f"{error}; pass what it can be found by as an argument of its own"
            ) from None
        return {"$entity": type(self.instance).__qualname__, "pk": stored}


def entities(args: object) -> Iterator[Entity]:
    """The entities among a job's args."""
    if isinstance(args, Mapping):
        yield from (value for value in args.values() if isinstance(value, Entity))


def stored(value: object) -> object:
    """For `json.dumps(default=...)`: an entity as its reference.

    Raises:
        InvalidEntity: it has no key.
        TypeError: it is something else that JSON cannot express.
    """
    if isinstance(value, Entity):
        return value.reference()
    raise TypeError(f"JSON cannot express {shown(value)}")


def by_reference(args: dict[str, Any]) -> dict[str, Any]:
    """The args with each entity as its reference.

    Raises:
        InvalidEntity: one has no key.
    """
    if not any(entities(args)):
        return args
    return {name: one.reference() if isinstance(one, Entity) else one for name, one in args.items()}


class Args(TypeDecorator[dict[str, Any]]):
    """JSONB in which entities are stored by their keys, as these are when the statement executes."""

    impl = JSONB
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Entities by their references."""
        return by_reference(value)

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """As JSONB does: what is compared with a key or an element is no whole JSON object."""
        return JSONB().coerce_compared_value(op, value)
