"""When a job is to be made again and again."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from sqla_oban.errors import InvalidSchedule, shown

REBOOT: Final = "@reboot"
NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MAX_EXPRESSION: Final = 200
"""Characters; longer expressions are a mistake, or an attack on the parser."""
EXPLAINED: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""A moment for a parser that wants one, whatever it is."""
LARGEST_SHIFT: Final = timedelta(hours=3)
"""No zone's clocks are set back by more."""


class Missed(StrEnum):
    """What becomes of ticks that nobody was there for."""

    SKIP = "skip"
    LATEST = "latest"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression, in a time zone.

    A time of day is the one on the wall: `30 2 * * *` comes once a day, also when clocks change. Where 2:30 is left
    out it comes as soon as the clocks have been set forward, and where 2:30 comes twice it is the first. What is said
    with a star for minute or hour, as `*/5 * * * *` or `0 * * * *`, follows the time that passes. These are the rules
    of Debian's cron.

    Args:
        expression: five fields (minute, hour, day of month, month, day of week), `@hourly`, `@daily`, `@midnight`,
            `@weekly`, `@monthly`, `@yearly`, `@annually`, or `@reboot`: once for each leader that starts.
        timezone: a name like "Europe/Berlin"; None for the scheduler's.
        missed: "skip" forgets ticks for which no leader was there, "latest" makes up for the last of them, "all" for as
            many as the scheduler's `most` allows.

    Raises:
        InvalidSchedule: one of them cannot be understood, or the expression never comes true.

    >>> Schedule("*/15 9-17 * * MON-FRI", timezone="Europe/Berlin").expression
    '*/15 9-17 * * MON-FRI'
    """

    expression: str
    timezone: str | None = None
    missed: Missed | str = Missed.LATEST

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str):
            raise InvalidSchedule(f"a cron expression must be a str, got {shown(self.expression)}")
        if len(self.expression) > MAX_EXPRESSION:
            raise InvalidSchedule(f"a cron expression may have {MAX_EXPRESSION} characters, got {len(self.expression)}")
        if self.timezone is not None:
            zone(self.timezone)
        if self.missed not in set(Missed):
            raise InvalidSchedule(f"missed must be one of {', '.join(Missed)}, got {shown(self.missed)}")
        object.__setattr__(self, "missed", Missed(self.missed))
        object.__setattr__(self, "expression", self.expression.strip())
        if not self.is_reboot:
            _parsed(self.expression)

    @property
    def is_reboot(self) -> bool:
        """Whether it comes with the start of a leader, and not by the clock."""
        return self.expression.lower() == REBOOT

    @property
    def words(self) -> str:
        """When it comes, in English.

        >>> Schedule("30 2 * * MON").words
        'At 02:30 on Monday'
        """
        return "When a leader starts" if self.is_reboot else CronSim(_fields(self.expression), EXPLAINED).explain()

    def following(self, after: datetime, default: str) -> datetime | None:
        """The first tick after a moment, in UTC; None if there is none within fifty years.

        Args:
            after: an aware datetime.
            default: the time zone where the schedule names none.
        """
        return _following(self.expression, self.timezone or default, after.astimezone(UTC))

    def between(self, after: datetime, until: datetime, *, most: int, default: str) -> list[datetime]:
        """The newest `most` ticks later than `after` and not later than `until`, in UTC and in order.

        It takes no longer for a year than for an hour.
        """
        ticks: list[datetime] = []
        tick = self.following(after, default)
        while tick is not None and tick <= until:
            if len(ticks) == most:  # there are more: look from the other end
                return self._newest(until, most, default)
            ticks.append(tick)
            tick = self.following(tick, default)
        return ticks

    def _newest(self, until: datetime, most: int, default: str) -> list[datetime]:
        """Begun later than `until`: on a clock that was set back, a tick of before may stand later on the wall."""
        local = (until + LARGEST_SHIFT).astimezone(zone(self.timezone or default))
        found = (tick.astimezone(UTC) for tick in CronSim(_fields(self.expression), local, reverse=True))
        return sorted(islice((tick for tick in found if tick <= until), most))


@lru_cache(maxsize=4_096)
def _following(expression: str, timezone: str, after: datetime) -> datetime | None:
    """Kept, because it is asked again in every turn, and for a rare date the answer takes a while."""
    if expression.lower() == REBOOT:
        return None
    for tick in CronSim(_fields(expression), after.astimezone(zone(timezone))):
        if (found := tick.astimezone(UTC)) > after:  # on a clock that was set back, it may have come already
            return found
    return None


def _fields(expression: str) -> str:
    return NICKNAMES.get(expression.lower(), expression)


@lru_cache(maxsize=1_024)
def _parsed(expression: str) -> None:
    """Raises InvalidSchedule where an expression makes no sense, or never comes true."""
    fields = _fields(expression)
    if expression.startswith("@") and fields == expression:
        known = ", ".join((*NICKNAMES, REBOOT))
        raise InvalidSchedule(f"there is no cron nickname {shown(expression)}; known: {known}")
    if len(fields.split()) != 5:
        names = "minute, hour, day of month, month, day of week"
        raise InvalidSchedule(f"a cron expression has five fields ({names}), got {shown(expression)}")
    try:
        if next(CronSim(fields, datetime(2024, 1, 1, tzinfo=UTC)), None) is None:
            raise InvalidSchedule(f"the cron expression {shown(expression)} never comes true")
    except (CronSimError, ValueError, AssertionError) as error:
        why = str(error) or "it is not understood"
        raise InvalidSchedule(f"the cron expression {shown(expression)} is wrong: {why}") from None


def zone(name: str) -> ZoneInfo:
    """The time zone called `name`.

    Raises:
        InvalidSchedule: there is none.
    """
    try:
        return ZoneInfo(name)
    except Exception:  # a missing key, a path out of the database, a directory in it, or no text at all
        raise InvalidSchedule(f"there is no time zone {shown(name)}; one is called like 'Europe/Berlin'") from None
