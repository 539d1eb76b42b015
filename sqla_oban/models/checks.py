"""What a field of a job may hold: the limits of the table, checked where the value is given."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqla_oban.errors import InvalidJob, UnserialisableValue, shown
from sqla_oban.models.entity import Entity, entities
from sqla_oban.outcomes import MAX_DELAY
from sqla_oban.payload import snapshot
from sqla_oban.states import JobState

MAX_NAME = 127
"""Characters of a queue or a worker; the table's checks say the same."""
MAX_WEIGHT = 1_000_000
"""Units of a rate that one job may use."""


def checked_name(field: str, value: object) -> str:
    """A queue's or worker's name that the table accepts.

    Raises:
        InvalidJob: it is blank, too long, holds NUL or is no text.
    """
    if not isinstance(value, str):
        raise InvalidJob(f"{field} must be a str, got {shown(value)}")
    if not value.strip():
        raise InvalidJob(f"{field} must not be blank, got {shown(value)}")
    if len(value) > MAX_NAME:
        raise InvalidJob(f"{field} may have {MAX_NAME} characters at most, got {len(value)}: {value[:40]!r}...")
    return _storable(field, value)


def checked_state(value: object) -> JobState:
    """One of the eight states.

    Raises:
        InvalidJob: it is none of them.
    """
    try:
        return JobState(value)  # type: ignore[arg-type]  # that is what is to be found out
    except ValueError:
        raise InvalidJob(f"state must be one of {', '.join(JobState)}, got {shown(value)}") from None


def checked_number(field: str, value: object) -> int:
    """A priority or a number of attempts that fits the column.

    Raises:
        InvalidJob: it does not, or is no integer.
    """
    least = 1 if field == "max_attempts" else 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidJob(f"{field} must be an integer, got {shown(value)}")
    if not least <= value <= 32_767:
        raise InvalidJob(f"{field} must be between {least} and 32767, got {shown(value)}")
    return value


def checked_weight(value: object) -> int:
    """How much of a rate limit a job uses.

    Raises:
        InvalidJob: it is no integer above zero that fits the column.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidJob(f"weight must be an integer, got {shown(value)}")
    if not 1 <= value <= MAX_WEIGHT:
        raise InvalidJob(f"weight must be between 1 and {MAX_WEIGHT}, got {shown(value)}")
    return value


def checked_object(field: str, value: object) -> dict[str, Any]:
    """A JSON object, as JSON gives it back.

    Raises:
        InvalidJob: it is no dict.
        UnserialisableValue: it holds what JSON cannot.
    """
    if not isinstance(value, dict):
        raise InvalidJob(f"{field} must be a dict, got {shown(value)}")
    return cast(dict[str, Any], snapshot(value, field))


def checked_args(value: object) -> dict[str, Any]:
    """The args of a job: a JSON object, in which entities stand for their keys until the INSERT.

    Raises:
        InvalidJob: they are no dict.
        UnserialisableValue: they hold what JSON cannot.
    """
    if not isinstance(value, dict) or not any(entities(value)):
        return checked_object("args", value)
    rest = checked_object("args", {name: one for name, one in value.items() if not isinstance(one, Entity)})
    return {name: rest.get(name, one) for name, one in value.items()}


def normal_tags(value: object) -> list[str]:
    """Tags stripped, lower-cased and each kept once, in the order given.

    Raises:
        InvalidJob: `value` is no sequence of texts.
    """
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise InvalidJob(f"tags must be a list of str, got {shown(value)}")
    for tag in value:
        if not isinstance(tag, str):
            raise InvalidJob(f"tags must be a list of str, got {shown(tag)} among them")
        _storable("a tag", tag)
    return list(dict.fromkeys(tag.strip().lower() for tag in value if tag.strip()))


def checked_delay(value: float | timedelta) -> timedelta:
    """A relative delay as a timedelta.

    Raises:
        InvalidJob: it is negative, longer than a century, or no span of time.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise InvalidJob(f"schedule_in must be seconds or a timedelta, got {shown(value)}")
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not 0 <= seconds <= MAX_DELAY:
        raise InvalidJob(f"schedule_in must lie between 0 and 100 years, got {shown(value)}")
    return timedelta(seconds=seconds)


def aware(what: str, value: object) -> datetime:
    """`value` if it is a datetime with a time zone.

    Raises:
        InvalidJob: it is naive, so that nobody could say which moment it means, or no datetime at all.
    """
    if not isinstance(value, datetime):
        raise InvalidJob(f"{what} must be a datetime, got {shown(value)}")
    if value.utcoffset() is None:
        raise InvalidJob(f"{what} must have a time zone, got the naive {value!r}; use datetime.now(UTC) or set tzinfo")
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise InvalidJob(f"{what} must lie within the years 1 to 9999 of UTC, got {shown(value)}") from None
    return value


def _storable(field: str, value: str) -> str:
    try:
        snapshot(value, field)
    except UnserialisableValue as error:
        raise InvalidJob(str(error)) from None
    return value
