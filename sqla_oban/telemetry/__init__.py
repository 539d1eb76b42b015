"""What happens inside, as typed events.

`events` holds one frozen dataclass an event; `bus` hands them to whoever attached; `span` tells of what takes its
time; `log` writes events to a logger, and `redaction` says what it may show of jobs' arguments.
"""

from sqla_oban.telemetry.bus import Handler, attach, detach, emit
from sqla_oban.telemetry.log import attach_logger, detach_logger
from sqla_oban.telemetry.redaction import hidden, only, shown
from sqla_oban.telemetry.span import span
from sqla_oban.telemetry.structured import structured

__all__ = [
    "Handler",
    "attach",
    "attach_logger",
    "detach",
    "detach_logger",
    "emit",
    "hidden",
    "only",
    "shown",
    "span",
    "structured",
]
