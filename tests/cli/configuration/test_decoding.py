from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest

from sqla_oban.cli.configuration.decoding import decoded
from sqla_oban.cli.configuration.sources import Source
from sqla_oban.errors import ConfigurationError

FILE = Source("a file", {})
ENVIRONMENT = Source("the environment", {}, written=True)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Rule:
    age: float
    colour: Colour = Colour.RED


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (int, 7, 7),
        (float, 7, 7),
        (float | None, "none", None),
        (str | None, "none", "none"),
        (timedelta, 1.5, timedelta(seconds=1.5)),
        (timedelta | float, 7, 7),
        (Colour, "blue", Colour.BLUE),
        (Mapping[Colour, int | None], {"red": 1, "blue": "none"}, {Colour.RED: 1, Colour.BLUE: None}),
        (Mapping[str, Rule], {"x": {"age": 1, "colour": "blue"}}, {"x": Rule(1, Colour.BLUE)}),
        (Sequence[Rule], [{"age": 1}], (Rule(1),)),
        (frozenset[str], ["a", "b"], frozenset({"a", "b"})),
        (list[int], [1], [1]),
    ],
)
def test_a_value_of_a_file_becomes_what_the_type_says(kind: Any, value: object, meant: object) -> None:
    assert decoded(kind, value, FILE, ("x",)) == meant


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (int, "7", 7),
        (float | None, "7.5", 7.5),
        (float | None, "none", None),
        (int | str, "7", 7),
        (int | str, "seven", "seven"),
        (bool, "FALSE", False),
        (timedelta, "60", timedelta(seconds=60)),
        (Colour, "blue", Colour.BLUE),
        (tuple[int, ...], "1, 2", (1, 2)),
        (Rule, {"age": "1"}, Rule(1.0)),
    ],
)
def test_a_word_of_the_environment_becomes_what_the_type_says(kind: Any, value: object, meant: object) -> None:
    assert decoded(kind, value, ENVIRONMENT, ("x",)) == meant


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        (int, True, "x in a file must be an integer, got True"),
        (int, "7", "x in a file must be an integer, got '7'"),
        (float, "none", "x in a file must be a number, got 'none'"),
        (timedelta, 1e300, "x in a file must be a number of seconds, got 1e+300"),
        (timedelta, float("nan"), "x in a file must be a number of seconds, got nan"),
        (Colour | None, "green", 'x in a file must be "red" or "blue" or "none", got \'green\''),
        (Mapping[str, int], {"y": "z"}, "x.y in a file must be an integer, got 'z'"),
        (Rule, {"colour": "red"}, "x in a file needs 'age' as well"),
        (Sequence[int], 7, "x in a file must be an array, got 7"),
    ],
)
def test_what_does_not_fit_is_refused(kind: Any, value: object, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        decoded(kind, value, FILE, ("x",))
    assert str(refusal.value) == complaint
