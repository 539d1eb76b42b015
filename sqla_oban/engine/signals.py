"""What Oban's libraries tell each other to do. Anybody who can connect can send anything, so all of it is checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from sqla_oban.errors import InvalidJob
from sqla_oban.models.checks import checked_name

ANYBODY: Final = "any"
MOST_JOBS: Final = 100_000
"""The largest limit that is taken from a signal."""
MAX_IDENT: Final = 1_000
"""Characters of the name of a node."""
MAX_ID: Final = 2**63 - 1


class Action(StrEnum):
    """What is done to a queue."""

    PAUSE = "pause"
    RESUME = "resume"
    SCALE = "scale"
    START = "start"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """An order about a queue, from another library.

    Attributes:
        action: what to do.
        queue: the queue, or `*` for all.
        ident: the node it is for, as `{name}.{node}`, or `any`.
        limit: how many jobs to run; None where nothing is said.
        paused: whether a queue is started paused.
    """

    action: Action
    queue: str
    ident: str
    limit: int | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    """A running job is to be cancelled, in one attempt or, as other libraries say it, in whichever it is."""

    job_id: int
    attempt: int | None


@dataclass(frozen=True, slots=True)
class QueuesChanged:
    """What is said of queues has changed in the table; `said` is what other libraries are told of it next."""

    said: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class CronsChanged:
    """The crontab has changed in the table."""


Signal: TypeAlias = Steer | Kill | QueuesChanged | CronsChanged


def understood(notice: Mapping[str, Any]) -> Signal | None:
    """The signal in a notice, or None where there is none in it.

    >>> understood({"action": "pause", "queue": "mailers", "ident": "any"})
    Steer(action=<Action.PAUSE: 'pause'>, queue='mailers', ident='any', limit=None, paused=False)
    >>> understood({"action": "scale", "queue": "mailers", "ident": "any", "limit": "many"}) is None
    True
    """
    match notice:
        case {"action": "queues"}:
            said = notice.get("said")
            return QueuesChanged(said if isinstance(said, dict) else None)
        case {"action": "crons"}:
            return CronsChanged()
        case {"action": "pkill", "job_id": job_id}:
            attempt = notice.get("attempt")
            known = _is_within(job_id, MAX_ID) and (attempt is None or _is_within(attempt, MAX_ID))
            return Kill(job_id, attempt) if known else None
        case {"action": str(action), "queue": str(queue), "ident": str(ident)} if action in list(Action):
            return _steer(Action(action), queue, ident, notice)
    return None


def _steer(action: Action, queue: str, ident: str, notice: Mapping[str, Any]) -> Steer | None:
    limit, paused = notice.get("limit", notice.get("local_limit")), notice.get("paused", False)
    if limit is None and action is Action.SCALE:
        return None
    if limit is not None and not _is_within(limit, MOST_JOBS):
        return None
    if not isinstance(paused, bool) or len(ident) > MAX_IDENT:
        return None
    try:
        return Steer(action=action, queue=checked_name("queue", queue), ident=ident, limit=limit, paused=paused)
    except InvalidJob:
        return None


def _is_within(number: object, most: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most
