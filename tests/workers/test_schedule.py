"""Cron expressions over real transitions of real time zones, and hostile ones."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sqla_oban import Schedule
from sqla_oban.errors import InvalidSchedule
from sqla_oban.workers.schedule import MAX_EXPRESSION, NICKNAMES, Missed

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"

HOSTILE: dict[str, Any] = {
    "nothing": "",
    "blank": "   ",
    "three fields": "* * *",
    "six fields": "* * * * * *",
    "words": "every five minutes please now",
    "a step of zero": "*/0 * * * *",
    "a negative step": "*/-1 * * * *",
    "an upper bound": "60 24 32 13 8",
    "a range backwards": "5-1 * * * *",
    "an open range": "1- * * * *",
    "a comma too many": "1,,2 * * * *",
    "an unknown nickname": "@fortnightly",
    "a nickname in a field": "@daily * * * *",
    "NUL": "*\x00 * * * *",
    "an emoji": "\U0001f600 * * * *",
    "other digits": "\u0661 * * * *",
    "the 30th of February": "0 0 30 2 *",
    "the 31st of short months": "0 0 31 2,4,6,9,11 *",
    "the sixth Monday": "0 0 * * MON#6",
    "a huge number": f"{'9' * 100} * * * *",
    "a huge list": ",".join(["0"] * 50_000) + " * * * *",
    "a huge step chain": "*" + "/1" * 50_000 + " * * * *",
    "commas alone": "," * 150 + " * * * *",
    "slashes alone": "/" * 150 + " * * * *",
    "no text": 5,
    "None": None,
    "bytes": b"* * * * *",
    "a list": ["*"] * 5,
}
WRONG_ZONES: list[Any] = ["", "Berlin", "Europe", "../../etc/passwd", "/etc/localtime", "a\x00b", "x" * 5000, 5, b"UTC"]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(expression: str, zone: str, after: str, until: str) -> list[str]:
    """The ticks between two moments of UTC, in UTC."""
    schedule = Schedule(expression, timezone=zone)
    found = schedule.between(utc(after), utc(until), most=10_000, default="UTC")
    assert all(tick.tzinfo is UTC for tick in found)
    return [f"{tick:%m-%d %H:%M}" for tick in found]


def test_a_time_of_day_is_the_one_on_the_wall() -> None:
    assert ticks("30 9 * * *", BERLIN, "2026-01-10", "2026-01-12") == ["01-10 08:30", "01-11 08:30"]
    assert ticks("30 9 * * *", BERLIN, "2026-07-10", "2026-07-12") == ["07-10 07:30", "07-11 07:30"]


def test_a_time_of_day_that_is_left_out_comes_when_the_clocks_have_been_set_forward() -> None:
    """Berlin leaves out 2:00 to 3:00 on 2026-03-29, New York on 2026-03-08."""
    assert ticks("30 2 * * *", BERLIN, "2026-03-28", "2026-03-31") == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
    assert ticks("0 2 * * *", NEW_YORK, "2026-03-07", "2026-03-10") == ["03-07 07:00", "03-08 07:00", "03-09 06:00"]
    assert ticks("0,15,30 2 * * *", BERLIN, "2026-03-29", "2026-03-29T23:00") == ["03-29 01:00"]


def test_a_time_of_day_that_comes_twice_is_the_first() -> None:
    """Berlin has 2:00 to 3:00 twice on 2026-10-25, New York 1:00 to 2:00 on 2026-11-01."""
    assert ticks("30 2 * * *", BERLIN, "2026-10-24", "2026-10-27") == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]
    assert ticks("30 1 * * *", NEW_YORK, "2026-10-31", "2026-11-03") == ["10-31 05:30", "11-01 05:30", "11-02 06:30"]


@pytest.mark.parametrize(
    ("expression", "minutes"), [("*/5 * * * *", 5), ("0 * * * *", 60), ("*/30 * * * *", 30), ("* * * * *", 1)]
)
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_what_is_said_with_a_star_follows_the_time_that_passes(expression: str, minutes: int, day: str) -> None:
    """No hour of it is left out, and none comes twice."""
    begin = utc(day)
    found = Schedule(expression, timezone=BERLIN).between(begin, begin + timedelta(hours=12), most=1_000, default="UTC")
    assert found == [begin + timedelta(minutes=minutes * step) for step in range(1, 12 * 60 // minutes + 1)]


def test_clocks_that_move_by_half_an_hour() -> None:
    """Lord Howe leaves out 2:00 to 2:30 on 2026-10-04 and has 1:30 to 2:00 twice on 2026-04-05."""
    assert ticks("15 2 * * *", LORD_HOWE, "2026-10-02T12:00", "2026-10-05") == [
        "10-02 15:45",
        "10-03 15:30",
        "10-04 15:15",
    ]
    assert ticks("45 1 * * *", LORD_HOWE, "2026-04-03T12:00", "2026-04-06") == [
        "04-03 14:45",
        "04-04 14:45",
        "04-05 15:15",
    ]
    assert len(ticks("*/10 * * * *", LORD_HOWE, "2026-04-04T12:00", "2026-04-05T12:00")) == 24 * 6


def test_a_day_that_was_left_out_and_a_zone_that_never_moves() -> None:
    """Samoa had no 2011-12-30."""
    apia = ticks("0 12 * * *", "Pacific/Apia", "2011-12-29", "2012-01-01")
    assert apia[0] == "12-29 22:00"
    assert apia[-1] == "12-31 22:00"
    assert ticks("0 12 * * *", "Asia/Kolkata", "2026-03-28", "2026-03-30") == ["03-28 06:30", "03-29 06:30"]


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE, "Africa/Casablanca", "America/St_Johns", "Asia/Tehran"])
@pytest.mark.parametrize("expression", ["17 1 * * *", "30 2 * * *", "0 0 * * *", "59 23 * * *", "5 3 * * *"])
def test_over_years_a_time_of_day_comes_once_on_every_day(zone: str, expression: str) -> None:
    begin, days = datetime(2024, 1, 1, 23, 59, 30, tzinfo=ZoneInfo(zone)), 800
    found = Schedule(expression, timezone=zone).between(
        begin.astimezone(UTC), (begin + timedelta(days=days)).astimezone(UTC), most=10_000, default="UTC"
    )
    dates = [tick.astimezone(ZoneInfo(zone)).date() for tick in found]
    assert dates == [(begin + timedelta(days=day)).date() for day in range(1, days + 1)]
    assert found == sorted(set(found))


@pytest.mark.parametrize("after", ["2026-10-25T00:10", "2026-10-25T01:10", "2026-10-25T01:40", "2026-10-25T00:30"])
def test_what_follows_a_moment_is_later_also_while_the_clock_repeats_itself(after: str) -> None:
    schedule = Schedule("30 2 * * *", timezone=BERLIN)
    following = schedule.following(utc(after), "UTC")
    assert following == (utc("2026-10-25T00:30") if after.endswith("00:10") else utc("2026-10-26T01:30"))


@pytest.mark.parametrize("expression", ["* * * * *", "30 2 * * *", "0 3 1 * *", "*/7 2 * * SUN"])
@pytest.mark.parametrize("most", [1, 3, 50])
def test_the_newest_ticks_of_a_long_time_are_those_at_its_end(expression: str, most: int) -> None:
    schedule = Schedule(expression, timezone=BERLIN)
    after, until = utc("2026-10-20" if expression.startswith("* *") else "2025-06-01"), utc("2026-10-25T02:45")
    every = schedule.between(after, until, most=10**7, default="UTC")
    assert schedule.between(after, until, most=most, default="UTC") == every[-most:]


@pytest.mark.parametrize("moment", ["2026-03-29T01:00", "2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:15"])
def test_the_newest_ticks_are_right_in_the_hour_of_a_transition(moment: str) -> None:
    schedule = Schedule("30 2 * * *", timezone=BERLIN)
    every = schedule.between(utc("2026-01-01"), utc(moment), most=1_000, default="UTC")
    assert schedule.between(utc("2026-01-01"), utc(moment), most=2, default="UTC") == every[-2:]


def test_no_tick_before_the_first_and_none_after_the_last() -> None:
    schedule = Schedule("0 * * * *")
    assert schedule.between(utc("2026-01-01T10:00"), utc("2026-01-01T10:59:59"), most=5, default="UTC") == []
    assert schedule.between(utc("2026-01-01T10:00"), utc("2026-01-01T11:00"), most=5, default="UTC") == [
        utc("2026-01-01T11:00")
    ]


def test_the_default_zone_counts_where_the_schedule_names_none() -> None:
    after = utc("2026-01-01")
    assert Schedule("0 9 * * *").following(after, BERLIN) == utc("2026-01-01T08:00")
    assert Schedule("0 9 * * *", timezone="UTC").following(after, BERLIN) == utc("2026-01-01T09:00")


@pytest.mark.parametrize(
    ("expression", "following"),
    [
        ("@hourly", "2026-01-01T01:00"),
        ("@DAILY", "2026-01-02T00:00"),
        ("@midnight", "2026-01-02T00:00"),
        ("@weekly", "2026-01-04T00:00"),
        ("@monthly", "2026-02-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("0 0 * jan-mar mon,wed", "2026-01-05T00:00"),
        ("0 0 * * 7", "2026-01-04T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 L * *", "2026-01-31T00:00"),
        ("  5   4 * * *  ", "2026-01-01T04:05"),
        ("5/20 10-12/2 * * *", "2026-01-01T10:05"),
    ],
)
def test_what_an_expression_means(expression: str, following: str) -> None:
    assert Schedule(expression).following(utc("2026-01-01"), "UTC") == utc(following)


def test_a_reboot_is_no_time() -> None:
    schedule = Schedule("@Reboot")
    assert schedule.is_reboot
    assert schedule.following(utc("2026-01-01"), "UTC") is None
    assert not Schedule("@daily").is_reboot


@pytest.mark.parametrize("expression", HOSTILE.values(), ids=HOSTILE)
def test_an_expression_that_makes_no_sense_is_refused_in_one_short_sentence(expression: Any) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        Schedule(expression)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("zone", WRONG_ZONES, ids=range(len(WRONG_ZONES)))
def test_a_zone_that_does_not_exist_is_refused(zone: Any) -> None:
    with pytest.raises(InvalidSchedule, match="there is no time zone"):
        Schedule("* * * * *", timezone=zone)


def test_a_policy_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidSchedule, match="skip, latest, all"):
        Schedule("* * * * *", missed="some")
    assert Schedule("* * * * *", missed="all").missed is Missed.ALL


def test_every_nickname_is_an_expression_as_long_as_allowed() -> None:
    for nickname in NICKNAMES:
        assert Schedule(nickname).expression == nickname
    longest = "0," * 95 + "1 * * * *"
    assert len(longest) <= MAX_EXPRESSION
    assert Schedule(longest).following(utc("2026-01-01"), "UTC") == utc("2026-01-01T00:01")
