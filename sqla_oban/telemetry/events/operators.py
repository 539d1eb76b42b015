"""What people do to jobs, queues and the crontab."""

from dataclasses import dataclass

from sqla_oban.telemetry.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorActed(Event):
    """Somebody asked the dashboard for a change.

    Attributes:
        action: which, as in `sqla_oban.web.Action`.
        user: who, as far as the dashboard was told.
        on: what was to be changed: ids of jobs, or names.
        details: what was asked for beside that, without arguments of jobs.
        count: how many were changed.
        refused: why nothing was; None where it was done.
    """

    action: str
    user: str | None
    on: tuple[str, ...]
    details: str
    count: int
    refused: str | None
