"""Something that takes its time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqla_oban.telemetry.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanStarted(Event):
    """Something that takes its time has begun; see `telemetry.span`."""

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFinished(Event):
    """It has ended, after `seconds`."""

    name: str
    data: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFailed(Event):
    """It has raised an exception, after `seconds`."""

    name: str
    data: Mapping[str, Any]
    seconds: float
    kind: str
    message: str
