"""How many jobs may start within which time."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.settings.checks import positive, whole


class Algorithm(StrEnum):
    """How the starts of the past are counted."""

    SLIDING = "sliding"
    FIXED = "fixed"
    BUCKET = "bucket"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many jobs of a queue may start within a time, over all nodes.

    Every start counts, whatever comes of it, a retry like a first attempt; a job of `weight` 5 counts as five, and one
    that is heavier than all of `allowed` as all of it.

    Args:
        allowed: how many.
        period: within how many seconds, or a timedelta.
        algorithm: "sliding": in no span of this length are there more. What was used is free again at most a 64th of
            the period late. "fixed": the count begins anew with each period, counted from 1970, so that two periods'
            worth may start close together. "bucket": what was used comes back evenly, `allowed` in each period, and as
            many may start at once after a time of rest.

    >>> RateLimit(100, 60)
    RateLimit(allowed=100, period=60, algorithm='sliding')
    """

    allowed: int
    period: float | timedelta
    algorithm: str = "sliding"

    def __post_init__(self) -> None:
        whole("RateLimit.allowed", self.allowed)
        positive("RateLimit.period", self.seconds)
        if self.algorithm not in set(Algorithm):
            raise ConfigurationError(
                f"RateLimit.algorithm must be one of {', '.join(Algorithm)}, got {shown(self.algorithm)}"
            )

    @property
    def seconds(self) -> float:
        """The period."""
        return self.period.total_seconds() if isinstance(self.period, timedelta) else self.period

    def stored(self) -> dict[str, Any]:
        """As the database keeps it."""
        return {"allowed": self.allowed, "period": self.seconds, "algorithm": str(self.algorithm)}


def checked_rate(what: str, value: object) -> None:
    """Refuse anything but a RateLimit."""
    if not isinstance(value, RateLimit):
        raise ConfigurationError(f"{what} must be a RateLimit, as RateLimit(100, 60), got {shown(value)}")
