"""`Unique`: which jobs are the same job, for how long, and what becomes of the one that is there already."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqla_oban.canonical import digest
from sqla_oban.errors import InvalidJob, shown
from sqla_oban.states import JobState

VERSION: Final = "1"
"""Stands before every key: keys of another way to compute them are never taken for the same."""
LONGEST: Final = timedelta(days=36_525)
FIELDS: Final = ("worker", "queue", "args", "meta")
"""What a key can be made of."""
REPLACEABLE: Final = ("args", "meta", "tags", "queue", "priority", "max_attempts", "scheduled_at")
"""What of a stored job can be replaced by a duplicate's."""
GROUPS: Final[Mapping[str, frozenset[JobState]]] = {
    "all": frozenset(JobState),
    "successful": frozenset(JobState) - {JobState.CANCELLED, JobState.DISCARDED},
    "incomplete": frozenset(JobState) - {JobState.CANCELLED, JobState.DISCARDED, JobState.COMPLETED},
    "scheduled": frozenset({JobState.SCHEDULED}),
}
IDLE: Final = (JobState.AVAILABLE, JobState.SCHEDULED, JobState.SUSPENDED, JobState.RETRYABLE)
"""Has not ended and does not run: what `replace` means when it names no states."""
BITS: Final[Mapping[JobState, int]] = {
    JobState.AVAILABLE: 1,
    JobState.SCHEDULED: 2,
    JobState.SUSPENDED: 4,
    JobState.EXECUTING: 8,
    JobState.RETRYABLE: 16,
    JobState.COMPLETED: 32,
    JobState.DISCARDED: 64,
    JobState.CANCELLED: 128,
}
"""How a set of states is stored in a row; part of the tables, like the columns."""


@dataclass(frozen=True, slots=True)
class Unique:
    """Keeps a job from being enqueued while the same one is there already.

    A job that is found to be a duplicate is not inserted and raises nothing: after the flush `job.conflict` is True and
    `job.id` is the id of the job that is there. It is no longer in the session.

    Uniqueness is about what is enqueued, not about what runs at the same time. A stored job that comes back into
    `states` (by a retry, say) while another has its place goes on without its key, and its meta says so.

    Args:
        period: seconds or a timedelta from its `inserted_at` on for which a job keeps others out; default: for as
            long as it is stored in one of `states`.
        fields: what must be equal: any of "worker", "queue", "args" and "meta".
        keys: the only keys of args (or meta) that count; default: all.
        states: in which a job keeps others out: "successful" (all but cancelled and discarded), "incomplete" (those
            but completed), "scheduled", "all", or a set of JobState.
        replace: fields of the job that is there which take the duplicate's values: a sequence of names, for jobs that
            wait; or a mapping of states, or names of groups of them, to such sequences.
        lock_timeout: seconds or a timedelta to wait for another transaction that is enqueueing the same job and has
            not ended; then `UniqueTimeout` is raised, and the transaction stays usable. Default: PostgreSQL's own
            `lock_timeout`, which aborts it.

    Raises:
        InvalidJob: one of them is none.

    >>> Unique(period=60, keys=["account_id"], states="incomplete").period
    datetime.timedelta(seconds=60)
    """

    period: timedelta | None
    fields: tuple[str, ...]
    keys: tuple[str, ...] | None
    states: frozenset[JobState]
    replace: Mapping[JobState, tuple[str, ...]] = field(hash=False)
    lock_timeout: timedelta | None

    def __init__(
        self,
        period: float | timedelta | None = None,
        fields: Collection[str] = ("worker", "queue", "args"),
        keys: Collection[str] | None = None,
        states: str | Collection[JobState] = "successful",
        replace: Collection[str] | Mapping[Any, Collection[str]] = (),
        *,
        lock_timeout: float | timedelta | None = None,
    ) -> None:
        checked = _names("fields", fields, FIELDS)
        object.__setattr__(self, "period", None if period is None else _span("period", period))
        object.__setattr__(self, "fields", tuple(name for name in FIELDS if name in checked))
        object.__setattr__(self, "keys", _keys(keys, checked))
        object.__setattr__(self, "states", _states("states", states))
        object.__setattr__(self, "replace", _replacements(replace))
        object.__setattr__(self, "lock_timeout", None if lock_timeout is None else _span("lock_timeout", lock_timeout))

    @property
    def mask(self) -> int:
        """`states` as they are stored."""
        return sum(BITS[state] for state in self.states)

    def key(self, job: Mapping[str, Any], reference: Callable[[Any], object]) -> str:
        """The key of a job with these fields: equal if and only if what counts is equal.

        The whole SHA-256 of canonical JSON: sorted keys, one way to write each number, and what was chosen beside its
        values, so that keys that were chosen differently never meet.

        Args:
            job: the values of `fields`.
            reference: what stands for a value that JSON has no words for.

        Raises:
            InvalidJob: one of `keys` is in none of the fields.
        """
        chosen = {name: job[name] for name in self.fields}
        if self.keys is not None:
            missing = [key for key in self.keys if not any(key in part for part in _objects(chosen))]
            if missing:
                raise InvalidJob(
                    f"unique by the key {missing[0]!r}, which is not among the job's "
                    f"{' or '.join(_holders(self.fields))}; pass it, or leave it out of keys"
                )
            chosen = {name: _only(value, self.keys) for name, value in chosen.items()}
        return f"{VERSION}:{digest([self.keys, chosen], reference)}"


def checked_unique(value: object) -> Unique | None:
    """What `unique=` means: True for the defaults, False or None for nothing.

    Raises:
        InvalidJob: it is none of these and no Unique.
    """
    match value:
        case Unique():
            return value
        case True:
            return Unique()
        case False | None:
            return None
        case _:
            raise InvalidJob(f"unique must be a Unique, or True for the defaults, got {shown(value)}")


def _objects(chosen: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [value for name, value in chosen.items() if name in ("args", "meta")]


def _holders(fields: Collection[str]) -> list[str]:
    return [name for name in ("args", "meta") if name in fields]


def _only(value: Any, keys: Collection[str]) -> Any:
    return {key: value[key] for key in keys if key in value} if isinstance(value, Mapping) else value


def _keys(keys: Any, fields: Collection[str]) -> tuple[str, ...] | None:
    if keys is None:
        return None
    if isinstance(keys, str) or not isinstance(keys, Collection) or not all(isinstance(one, str) for one in keys):
        raise InvalidJob(f"unique keys must be a list of str, got {shown(keys)}")
    if not keys:
        raise InvalidJob("unique keys must name one at least; leave them out for all")
    if not _holders(fields):
        raise InvalidJob("unique keys are keys of args or meta: add one of these to fields")
    return tuple(sorted(set(keys)))


def _states(what: str, states: object) -> frozenset[JobState]:
    if isinstance(states, str) and states in GROUPS:
        return GROUPS[states]
    try:
        given: Any = [states] if isinstance(states, str) else states
        found = frozenset(JobState(state) for state in given)
    except (TypeError, ValueError):
        found = frozenset()
    if not found:
        raise InvalidJob(f"unique {what} must be one of {', '.join(GROUPS)}, or a set of JobState, got {shown(states)}")
    return found


def _replacements(replace: object) -> Mapping[JobState, tuple[str, ...]]:
    if not isinstance(replace, Mapping):
        fields = _names("replace", replace, REPLACEABLE)
        return dict.fromkeys(IDLE, fields) if fields else {}
    found: dict[JobState, tuple[str, ...]] = {}
    for states, names in replace.items():
        for state in _states("replace", states):
            if state is JobState.EXECUTING:
                raise InvalidJob("unique replace cannot name executing: a job that runs has been given its fields")
            found[state] = _names("replace", names, REPLACEABLE)
    return found


def _names(what: str, names: Any, known: Collection[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Collection):
        raise InvalidJob(f"unique {what} must be a list of names, got {shown(names)}")
    for name in names:
        if name not in known:
            raise InvalidJob(f"unique {what} can be {', '.join(known)}, got {shown(name)} among them")
    if what == "fields" and not names:
        raise InvalidJob(f"unique fields must name one at least of {', '.join(known)}")
    return tuple(sorted(set(names)))


def _span(what: str, value: object) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise InvalidJob(f"unique {what} must be seconds or a timedelta, got {shown(value)}")
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not 0 < seconds <= LONGEST.total_seconds():
        raise InvalidJob(f"unique {what} must be above zero and at most 100 years, got {shown(value)}")
    return timedelta(seconds=seconds)
