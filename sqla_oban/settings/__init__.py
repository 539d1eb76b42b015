"""Settings, one frozen dataclass a service, checked when they are made.

All durations are seconds. Every class raises ConfigurationError for a value out of range.
"""

from sqla_oban.settings.engine import AckerSettings, HeartbeatSettings, LeaderSettings, NotifierSettings, StagerSettings
from sqla_oban.settings.executors import ExecutorKind, ProcessSettings
from sqla_oban.settings.maintenance import (
    LifelineSettings,
    MenderSettings,
    PrunerSettings,
    PruneRule,
    ReindexerSettings,
)
from sqla_oban.settings.queue import QueueConfig
from sqla_oban.settings.rate_limit import Algorithm, RateLimit
from sqla_oban.settings.scheduler import SchedulerSettings

__all__ = [
    "AckerSettings",
    "Algorithm",
    "ExecutorKind",
    "HeartbeatSettings",
    "LeaderSettings",
    "LifelineSettings",
    "MenderSettings",
    "NotifierSettings",
    "ProcessSettings",
    "PruneRule",
    "PrunerSettings",
    "QueueConfig",
    "RateLimit",
    "ReindexerSettings",
    "SchedulerSettings",
    "StagerSettings",
]
