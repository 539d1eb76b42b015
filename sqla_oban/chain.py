"""`Chain`: jobs that run one at a time, in the order in which they were enqueued."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqla_oban.canonical import digest
from sqla_oban.errors import InvalidJob, shown

VERSION: Final = "1"
"""Stands before every key: keys of another way to compute them are never taken for the same."""


class OnDiscard(StrEnum):
    """What becomes of a chain when one of its jobs is discarded."""

    HOLD = "hold"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, init=False)
class Chain:
    """Has the jobs of a worker run strictly one at a time, in the order in which they were enqueued, for each key.

    The key is the worker's name and the values of the arguments `by`; the queue is no part of it. A job of a chain
    waits, `suspended`, until all before it have ended. It has not ended while it fails and is tried again, snoozes,
    waits for its `scheduled_at`, or lost its node: the chain waits with it. What is cancelled or deleted has ended.

    Args:
        by: the names of the arguments, one or several.
        on_discard: "hold" makes the chain wait for a discarded job until it is retried or deleted; "continue" goes on
            with the next. By default it holds: what comes later was enqueued in the belief that this had happened, and
            a chain that was held can go on, but one that went on cannot be taken back.

    Raises:
        InvalidJob: one of them is none.

    >>> Chain("account_id", on_discard="continue").by
    ('account_id',)
    """

    by: tuple[str, ...]
    on_discard: OnDiscard

    def __init__(self, by: str | Sequence[str], *, on_discard: OnDiscard | str = OnDiscard.HOLD) -> None:
        object.__setattr__(self, "by", _names(by))
        if on_discard not in set(OnDiscard):
            raise InvalidJob(f"on_discard must be one of {', '.join(OnDiscard)}, got {shown(on_discard)}")
        object.__setattr__(self, "on_discard", OnDiscard(on_discard))

    @property
    def holds(self) -> bool:
        """Whether the chain waits for a discarded job."""
        return self.on_discard is OnDiscard.HOLD

    def key(self, worker: str, args: Mapping[str, Any], reference: Callable[[Any], object]) -> str:
        """The key of a job: equal if and only if the worker and the values are.

        Args:
            worker: the worker's name.
            args: the job's arguments.
            reference: what stands for a value that JSON has no words for.

        Raises:
            InvalidJob: one of the arguments is not there.
        """
        if missing := [name for name in self.by if name not in args]:
            raise InvalidJob(f"{worker} is a chain by {missing[0]!r}, which is not among the job's args; pass it")
        return f"{VERSION}:{digest([worker, {name: args[name] for name in self.by}], reference)}"


def checked_chain(value: object) -> Chain | None:
    """What `chain=` means: a Chain, one or several names of arguments, or None for none.

    Raises:
        InvalidJob: it is none of these.
    """
    return value if value is None or isinstance(value, Chain) else Chain(value)  # type: ignore[arg-type]  # it checks


def _names(by: object) -> tuple[str, ...]:
    names = (by,) if isinstance(by, str) else by
    if not isinstance(names, Sequence) or not names or not all(isinstance(one, str) and one for one in names):
        raise InvalidJob(f"a chain takes the name of an argument, or a tuple of names, got {shown(by)}")
    return tuple(sorted(set(names)))
