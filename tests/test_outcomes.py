import dataclasses
import math
from datetime import timedelta

import pytest

from sqla_oban import Cancel, Record, Snooze
from sqla_oban.errors import InvalidArguments, UnserialisableValue
from sqla_oban.outcomes import MAX_DELAY


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        pytest.param(0, 0.0, id="at-once"),
        pytest.param(90, 90.0, id="int"),
        pytest.param(0.5, 0.5, id="float"),
        pytest.param(timedelta(minutes=2), 120.0, id="timedelta"),
        pytest.param(MAX_DELAY, MAX_DELAY, id="a-century"),
    ],
)
def test_a_snooze_knows_its_delay_in_seconds(delay: float | timedelta, seconds: float) -> None:
    assert Snooze(delay).delay == seconds


@pytest.mark.parametrize(
    "delay",
    [
        pytest.param(-1, id="negative"),
        pytest.param(timedelta(microseconds=-1), id="negative-timedelta"),
        pytest.param(math.nan, id="nan"),
        pytest.param(math.inf, id="infinity"),
        pytest.param(MAX_DELAY + 1, id="more-than-a-century"),
        pytest.param(timedelta.max, id="longest-timedelta"),
        pytest.param(10**400, id="beyond-any-float"),
        pytest.param(10**5_000, id="unprintable"),
        pytest.param(True, id="bool"),
        pytest.param("60", id="text"),
        pytest.param(None, id="none"),
    ],
)
def test_a_snooze_refuses_what_is_no_delay(delay: object) -> None:
    with pytest.raises(InvalidArguments, match="Snooze takes"):
        Snooze(delay)  # type: ignore[arg-type]


def test_the_reason_of_a_cancel_is_kept() -> None:
    assert Cancel("refunded").reason == "refunded"


@pytest.mark.parametrize(("outcome", "field"), [(Snooze(1), "seconds"), (Cancel("no"), "reason")])
def test_outcomes_are_frozen(outcome: object, field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(outcome, field, 5)


def test_a_record_keeps_its_value_as_it_was() -> None:
    value = {"pages": [1, 2]}
    record = Record(value)
    value["pages"].append(3)
    assert record.value == {"pages": [1, 2]}


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), "a\x00b"])
def test_a_record_takes_json_only(value: object) -> None:
    with pytest.raises(UnserialisableValue, match="the recorded value"):
        Record(value)


def test_a_record_over_its_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(InvalidArguments, match="takes 12 bytes, more than the limit of 11"):
        Record("x" * 10, limit=11)
    assert Record("x" * 10, limit=12).value == "x" * 10


def test_a_snooze_takes_json_as_meta_only() -> None:
    with pytest.raises(UnserialisableValue, match="Snooze's meta"):
        Snooze(1, meta={"at": object()})
