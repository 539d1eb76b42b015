"""What a worker may return to say how its job ended. Any other value completes the job."""

from dataclasses import dataclass
from datetime import timedelta

from sqla_oban.errors import InvalidArguments, shown


@dataclass(frozen=True, slots=True)
class Snooze:
    """Run the job again later, without using up an attempt.

    Args:
        delay: seconds, or a timedelta; not negative.

    Raises:
        InvalidArguments: the delay is not a finite, non-negative span of at most 100 years.

    >>> Snooze(90).seconds
    90.0
    """

    delay: float | timedelta

    def __post_init__(self) -> None:
        if isinstance(self.delay, bool) or not isinstance(self.delay, int | float | timedelta):
            raise InvalidArguments(f"Snooze takes seconds or a timedelta, got {shown(self.delay)}")
        if not 0 <= (self.seconds if isinstance(self.delay, timedelta) else self.delay) <= MAX_DELAY:
            raise InvalidArguments(f"Snooze takes a delay between 0 and 100 years, got {shown(self.delay)}")

    @property
    def seconds(self) -> float:
        """The delay in seconds."""
        return self.delay.total_seconds() if isinstance(self.delay, timedelta) else float(self.delay)


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the job as cancelled; `reason` is kept in the job's errors.

    >>> Cancel("the order was refunded").reason
    'the order was refunded'
    """

    reason: str


MAX_DELAY = 100 * 365 * 86_400.0
"""Seconds; what is scheduled further away than a century is a mistake in a unit."""
