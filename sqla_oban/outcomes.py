"""What a worker may return to say how its job ended. Any other value completes the job."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqla_oban.errors import InvalidArguments, shown
from sqla_oban.payload import snapshot

RESULT: Final = "recorded_value"
"""The key in a job's meta of what `Record` keeps, a JSON value.

Not `return` beside `recorded`, where Oban's other libraries keep a term of Erlang's and their dashboard decodes one.
"""

MAX_DELAY = 100 * 365 * 86_400.0
"""Seconds; what is scheduled further away than a century is a mistake in a unit."""


@dataclass(frozen=True, slots=True)
class Snooze:
    """Run the job again later, without using up an attempt.

    Args:
        seconds: how long to wait; a number or a timedelta, between 0 and 100 years.
        meta: JSON values to note in the job's meta, over what is there.

    Raises:
        InvalidArguments: the delay is no such span.
        UnserialisableValue: `meta` holds what JSON cannot.

    >>> Snooze(timedelta(minutes=1), meta={"asked": 1}).delay
    60.0
    """

    seconds: float | timedelta
    meta: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        seconds = self.seconds.total_seconds() if isinstance(self.seconds, timedelta) else self.seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise InvalidArguments(f"Snooze takes seconds or a timedelta, got {shown(seconds)}")
        if not 0 <= seconds <= MAX_DELAY:
            raise InvalidArguments(f"Snooze takes a delay between 0 and 100 years, got {shown(self.seconds)}")
        if self.meta is not None:
            snapshot(dict(self.meta), "Snooze's meta")

    @property
    def delay(self) -> float:
        """The delay in seconds."""
        return self.seconds.total_seconds() if isinstance(self.seconds, timedelta) else float(self.seconds)


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the job as cancelled; `reason` is kept in the job's errors.

    >>> Cancel("the order was refunded").reason
    'the order was refunded'
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """Complete the job and keep `value` with it, to be read as `job.result`.

    Args:
        value: a JSON value.
        limit: the most bytes it may take as JSON.

    Raises:
        UnserialisableValue: it is no JSON value.
        InvalidArguments: it takes more than `limit` bytes.

    >>> Record({"pages": 12}).value
    {'pages': 12}
    """

    value: Any
    limit: int = 64_000_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", snapshot(self.value, "the recorded value"))
        size = len(json.dumps(self.value, ensure_ascii=False).encode())
        if size > self.limit:
            raise InvalidArguments(f"the recorded value takes {size:,} bytes, more than the limit of {self.limit:,}")
