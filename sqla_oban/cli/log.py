"""Where the log goes: to standard error, as text or as one JSON object a line."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from sqla_oban.cli.configuration import LogLevel
from sqla_oban.telemetry.bus import wanted
from sqla_oban.telemetry.events import Event
from sqla_oban.telemetry.log import Format, attach_logger

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's moment in UTC, level, logger, message, what was raised, and the fields of an event."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if (fields := getattr(record, "sqla_oban", None)) is not None:
            entry["event"] = fields
        return json.dumps(entry, default=str)


def write_log(level: LogLevel, kind: Format) -> None:
    """Have everything from `level` on written, events too, unless the application has said where its log goes.

    Events are not attached over an application that hears all of them: what it shows of jobs' arguments is its choice.
    """
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if kind is Format.JSON else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if not wanted(Event):
        attach_logger(format=Format.TEXT)
