"""Writes events to a logger, a line each."""

import dataclasses
import json
import logging
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqla_oban.errors import ConfigurationError
from sqla_oban.errors import shown as shown_briefly
from sqla_oban.states import JobState
from sqla_oban.telemetry import events as kinds
from sqla_oban.telemetry.bus import attach, detach
from sqla_oban.telemetry.events import Event
from sqla_oban.telemetry.redaction import REDACTED, Redaction, hidden

LOGGER: Final = "sqla_oban.telemetry"

MOST_JOBS: Final = 20
"""How many of the jobs that were enqueued together are named on the line."""

LEVELS: Final[dict[type[Event], int]] = {
    **dict.fromkeys(
        (kinds.AcksWritten, kinds.Beaten, kinds.JobsClaimed, kinds.JobsPruned, kinds.JobsStaged, kinds.QueuesMeasured),
        logging.DEBUG,
    ),
    **dict.fromkeys(
        (
            *(kinds.AcksDelayed, kinds.JobAbandoned, kinds.JobRescued, kinds.JobRefused, kinds.JobsReleased),
            *(kinds.JobFailed, kinds.ListenerDown, kinds.ServiceFailed, kinds.SpanFailed, kinds.WorkflowsMended),
        ),
        logging.WARNING,
    ),
    **dict.fromkeys((kinds.AckReplaced, kinds.CronFailed, kinds.LivenessLost), logging.ERROR),
}
"""Of the events that are not written at the level that was asked for."""


class Format(StrEnum):
    """How a line is written."""

    JSON = "json"
    TEXT = "text"


class EventLog:
    """A telemetry handler that writes each event to a logger.

    The fields of the event go with the record as `record.sqla_oban`, for formatters and filters of your own.

    Args:
        logger: the name of the logger.
        level: at which ordinary events are written; loops are DEBUG, what needs attention is WARNING or ERROR.
        format: "json", an object a line, or "text".
        args: what is shown of jobs' arguments: `hidden` (the default), `shown`, `only("name", ...)`, or a function of
            the args that returns what to show.
    """

    def __init__(self, logger: str, level: int, format: Format, args: Redaction) -> None:
        self._logger = logging.getLogger(logger)
        self._level = level
        self._format = format
        self._args = args

    def __call__(self, event: Event) -> None:
        """Write one event."""
        level = self._level_of(event)
        if self._logger.isEnabledFor(level):
            fields = {"event": _snake(type(event).__name__), **self._fields(event)}
            line = _json(fields) if self._format is Format.JSON else _text(fields)
            self._logger.log(level, "%s", line, extra={"sqla_oban": fields})

    def _level_of(self, event: Event) -> int:
        match event:
            case kinds.JobFailed(state=JobState.DISCARDED):
                return logging.ERROR
            case kinds.RunnerStopped(unfinished=unfinished) | kinds.QueueStopped(unfinished=unfinished) if unfinished:
                return logging.WARNING
        return LEVELS.get(type(event), self._level)

    def _fields(self, event: Event) -> dict[str, Any]:
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        fields.pop("meta", None)  # of a job's notes nothing is shown
        if "args" in fields:
            fields["args"] = self._redacted(fields["args"])
        if "depths" in fields:
            fields["depths"] = [depth._asdict() for depth in fields["depths"]]
        if "jobs" in fields:
            fields |= {"count": len(fields["jobs"]), "jobs": fields["jobs"][:MOST_JOBS]}
        return fields

    def _redacted(self, stored: str) -> Any:
        """What cannot be read is not shown: the redaction could not know what is in it."""
        try:
            args = json.loads(stored)
        except ValueError:
            return REDACTED
        return self._args(args) if isinstance(args, dict) else REDACTED


_attached: list[EventLog] = []


def attach_logger(
    *types: type[Event],
    level: int | str = logging.INFO,
    format: Format | str = Format.JSON,
    logger: str = LOGGER,
    args: Redaction = hidden,
) -> None:
    """Write events to a logger, from now on and instead of what was attached here before.

    What the messages and tracebacks of exceptions hold is written as it is: let them hold no secrets.

    Args:
        *types: the kinds of events; default: all.
        level, format, logger, args: see `EventLog`.

    Raises:
        ConfigurationError: there is no such level or format.

    >>> attach_logger(JobFailed, JobRescued, format="text", args=only("user_id"))  # doctest: +SKIP
    """
    if format not in set(Format):
        raise ConfigurationError(f"a log's format must be one of {', '.join(Format)}, got {format!r}")
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if number is None:
        raise ConfigurationError(
            f"a log's level must be one of {', '.join(logging.getLevelNamesMapping())}, got {level!r}"
        )
    detach_logger()
    _attached.append(EventLog(logger, number, Format(format), args))
    attach(_attached[0], *(types or (Event,)))


def detach_logger() -> None:
    """Write events no longer; does nothing when none are written."""
    while _attached:
        detach(_attached.pop())


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _json(fields: dict[str, Any]) -> str:
    told = (f"{json.dumps(name)}: {_dumped(value)}" for name, value in fields.items())
    return f'{{"time": "{datetime.now(UTC).isoformat()}", {", ".join(told)}}}'


def _text(fields: dict[str, Any]) -> str:
    event, *others = fields.items()
    return " ".join([str(event[1]), *(f"{name}={_short(value)}" for name, value in others)])


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return value if isinstance(value, str) and re.fullmatch(r"[\w.@:/-]+", value) else _dumped(value)


def _dumped(value: object) -> str:
    """Whatever somebody has put into a span: what is no JSON is shown as it shows itself."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(shown_briefly(value, most=1_000))


def _plain(value: object) -> object:
    """What JSON does not know: moments, and whatever data of a span somebody has put in."""
    return value.isoformat() if isinstance(value, datetime) else shown_briefly(value, most=1_000)
