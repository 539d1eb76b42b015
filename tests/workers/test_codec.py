"""Typed arguments: there and back, and what is refused on either way."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from sqla_oban.errors import DeclarationError, InvalidArguments
from sqla_oban.payload import snapshot
from sqla_oban.workers.codec import Codec, is_json

ID = UUID("6f1b8d5e-6f2c-4d55-8a0e-0c4a5f1d2b3c")


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass
class Line:
    item: str
    price: Decimal
    made_at: datetime = field(default_factory=lambda: datetime(2026, 11, 24, tzinfo=UTC))


class Address(TypedDict):
    city: str
    since: NotRequired[date]


class Point(NamedTuple):
    x: int
    y: float


class Parcel(msgspec.Struct):
    weight: float
    id: UUID


class Customer(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=2)
    id: UUID


VALUES = [
    (datetime, datetime(2026, 11, 24, 8, 30, tzinfo=UTC)),
    (datetime, datetime(2026, 11, 24, 8, 30)),  # noqa: DTZ001 (one without a zone comes back without)
    (date, date(2026, 11, 24)),
    (timedelta, timedelta(days=1, seconds=2.5)),
    (UUID, ID),
    (Decimal, Decimal("1.10")),
    (bytes, b"\x00\xff"),
    (Colour, Colour.RED),
    (Level, Level.HIGH),
    (Line, Line("book", Decimal("9.90"))),
    (Address, {"city": "Berlin", "since": date(2020, 1, 1)}),
    (Point, Point(1, 2.5)),
    (Parcel, Parcel(1.5, ID)),
    (Customer, Customer(name="Ann", id=ID)),
    (list[Customer], [Customer(name="Ann", id=ID)]),
    (dict[UUID, Line], {ID: Line("book", Decimal(1))}),
    (dict[int, str], {1: "a"}),
    (set[date], {date(2026, 1, 1)}),
    (tuple[int, date], (1, date(2026, 1, 1))),
    (date | None, None),
    (Line | None, Line("pen", Decimal(2))),
    (int | str, "a"),
    (float, 1.5),
    (Literal["a", "b"], "b"),
    (Sequence[int], [1, 2]),
    (Mapping[str, Any], {"a": [1, None]}),
    (Annotated[int, msgspec.Meta(ge=1)], 1),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=lambda one: str(one)[:40])
def test_a_value_comes_back_as_it_was(annotation: Any, value: object) -> None:
    codec = Codec(annotation, "x", "shop.work")
    stored = snapshot(codec.encode(value), "x")
    back = codec.decode(stored)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        (int, "1", "Expected `int`, got `str`"),
        (int, True, "Expected `int`, got `bool`"),
        (str, None, "Expected `str`, got `null`"),
        (list[int], [1, "2"], "Expected `int`, got `str` - at `x[1]`"),
        (Colour, "blue", "Invalid enum value 'blue'"),
        (Address, {"city": 5}, "Expected `str`, got `int` - at `x.city`"),
        (Address, {}, "missing required field `city`"),
        (Customer, {"name": "A", "id": str(ID)}, "at least 2 characters - at `name`"),
        (datetime, "tomorrow", "Invalid RFC3339 encoded datetime"),
        (Line, {"item": "book", "price": "dear"}, "Invalid decimal string - at `x.price`"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "Expected `int` >= 1"),
        (date, object(), "JSON cannot express a object"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(annotation: Any, value: object, reason: str) -> None:
    codec = Codec(annotation, "x", "shop.work")
    with pytest.raises(InvalidArguments, match=r"^shop\.work: the argument 'x' does not fit: ") as refused:
        codec.encode(value)
    assert reason in str(refused.value)
    if not isinstance(value, datetime | date) and type(value) is not object:
        with pytest.raises(InvalidArguments) as refused:  # and so is a row that holds it
            codec.decode(value)
        assert reason in str(refused.value)


@pytest.mark.parametrize("annotation", [datetime | str, Line | Parcel, Colour | UUID], ids=str)
def test_types_that_json_cannot_tell_apart_are_no_annotation(annotation: Any) -> None:
    with pytest.raises(DeclarationError, match=r"shop\.work: the annotation of 'x' cannot be stored: Type unions"):
        Codec(annotation, "x", "shop.work")


def test_a_class_of_which_nothing_is_known_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="JSON cannot express a Thing"):
        Codec(thing := type("Thing", (), {}), "x", "shop.work").encode(thing())


def test_a_value_of_a_json_type_is_left_for_the_job_to_copy() -> None:
    value = {"a": [1, 2]}
    assert Codec(dict[str, list[int]], "x", "shop.work").encode(value) is value


@pytest.mark.parametrize(
    ("annotation", "holds"),
    [
        (dict[str, Any], True),
        (list[int | None], True),
        (Literal["a", 1], True),
        (dict[int, str], False),
        (tuple[int, ...], False),
        (list[date], False),
        (Callable, False),
        (namedtuple("Pair", "a b"), False),  # noqa: PYI024 (on purpose)
    ],
    ids=str,
)
def test_json_types_are_known_at_any_depth(annotation: Any, holds: bool) -> None:
    assert is_json(annotation) is holds
