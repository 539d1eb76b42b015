"""Settings of the service that makes jobs by the crontab."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.settings.checks import positive, whole


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Makes jobs by the crontab.

    Args:
        timezone: of entries that name none.
        interval: how often to look for entries that others have changed, if no signal comes; ticks are prompt anyway.
        tolerance: how late a tick may be dealt with without counting as missed.
        most: how many missed ticks are made up for at once, for entries that want all of them.
    """

    timezone: str = "UTC"
    interval: float = 15.0
    tolerance: float = 60.0
    most: int = 100

    def __post_init__(self) -> None:
        positive("SchedulerSettings.interval", self.interval)
        positive("SchedulerSettings.tolerance", self.tolerance)
        whole("SchedulerSettings.most", self.most)
        try:
            ZoneInfo(self.timezone)
        except Exception:  # a missing key, a path out of the database, or no text at all
            raise ConfigurationError(
                f"SchedulerSettings.timezone: there is no time zone {shown(self.timezone)}"
            ) from None
