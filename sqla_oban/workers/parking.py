"""What a job does that waits for a signal: it takes what has come, or has itself put aside until then."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqla_oban.errors import InvalidArguments, InvalidJob, SignalTimeout, shown
from sqla_oban.models.checks import checked_name
from sqla_oban.outcomes import MAX_DELAY, Snooze
from sqla_oban.queries.expressions import SIGNAL_WAIT, SIGNALS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Parked(BaseException):
    """Ends an execution whose job is to be put aside. No error, so that a worker's `except Exception` lets it pass.

    Args:
        outcome: what to write: a snooze until the deadline, which a signal cuts short.
    """

    def __init__(self, outcome: Snooze) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Claim(NamedTuple):
    """What an execution knows of its own claim.

    Args:
        meta: the job's meta when it was claimed, as text.
        at: when that was, by PostgreSQL's clock.
    """

    meta: str
    at: datetime


def received(name: str, timeout: float | timedelta | None, claim: Claim, elapsed: float) -> Any:
    """The payload of the signal `name`, if the claim has read one.

    The deadline is by PostgreSQL's clock: the moment of the claim, and what has `elapsed` since by a monotonic one. It
    is noted when the job is first put aside for that name, and holds for all later executions, so that these go the
    same way again. Who is claimed before it, for whatever reason, is put aside for the rest of the time.

    Raises:
        SignalTimeout: there is none, and this execution began after the deadline.
        Parked: there is none, as far as the claim knows; what has come since is found as the job is put aside.
        InvalidArguments: the name or the timeout is none.
    """
    seconds = _checked(name, timeout)
    meta = json.loads(claim.meta)
    signals, wait = _object(meta, SIGNALS), _object(meta, SIGNAL_WAIT)
    if name in signals:
        return signals[name]
    begun, deadlines = _epoch(claim.at), _object(wait, "deadlines")
    deadline = deadlines.get(name)
    if not isinstance(deadline, int | float):
        deadline = None if seconds is None else begun + elapsed + seconds
    elif begun >= deadline:
        raise SignalTimeout(f"the signal {name!r} did not come in time")
    if deadline is not None:
        deadlines[name] = deadline
    delay = MAX_DELAY if deadline is None else min(MAX_DELAY, max(0.0, deadline - begun - elapsed))
    waits_for = {"name": name, "execution": begun, "deadlines": deadlines}
    raise Parked(Snooze(delay, meta={SIGNAL_WAIT: waits_for}))


def _checked(name: object, timeout: object) -> float | None:
    try:
        checked_name("a signal's name", name)
    except InvalidJob as error:
        raise InvalidArguments(str(error)) from None
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_DELAY:
        raise InvalidArguments(f"the timeout of a signal must be seconds between 0 and 100 years, got {shown(timeout)}")
    return float(seconds)


def _object(value: object, key: str) -> dict[str, Any]:
    """The object under `key`; an empty one where there is none, as in what another library may have stored."""
    found = value.get(key) if isinstance(value, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def _epoch(moment: datetime) -> float:
    """Seconds since 1970, exact to the microsecond: what PostgreSQL extracts of the same moment is the same number."""
    return (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) / 1_000_000
