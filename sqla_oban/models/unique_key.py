"""The unique key of a job: what it is, and in which rows it keeps others out."""

from typing import Any, Final

from sqla_oban.models.entity import Entity, entities
from sqla_oban.states import JobState
from sqla_oban.unique import BITS

HELD: Final = (
    "{job}unique_key IS NOT NULL AND ({job}unique_states & "
    "(1 << array_position('{{" + ",".join(BITS) + "}}', {job}state) - 1)) <> 0"
)
"""Whether a row keeps others of its key out, in SQL: the predicate of the unique index.

INVARIANT: no two rows of which this is true have the same key. The index says so; all else is there so that nobody ever
runs into it. A row without a key costs one look at a NULL.
"""


def is_unique(job: Any) -> bool:
    """Whether a new job is to be looked at for duplicates."""
    return job.unique is not None or job.__dict__.get("unique_key") is not None


def is_held(job: Any) -> bool:
    """`HELD`, for a job in memory; one whose key is not known yet will have one."""
    mask = job.__dict__.get("unique_states") or 0
    state = job.__dict__.get("state") or JobState.AVAILABLE
    return is_unique(job) and bool(mask & BITS[state])


def is_known(job: Any) -> bool:
    """Whether all that the key is made of has its own key by now."""
    return all(entity.key() is not None for entity in entities(job.__dict__.get("args")))


def key_of(job: Any) -> str:
    """The key of a job as it is now.

    Raises:
        InvalidJob: one of the keys that it is to be unique by is not there.
        InvalidEntity: an entity among its args has no key.
    """
    return _key(job, Entity.reference)


def provisional_key(job: Any) -> str:
    """A key that tells jobs of one flush apart while entities among their args have none: by the very instances.

    Such an entity is not stored, so no stored job can have it as an argument.
    """
    return f"provisional {_key(job, lambda entity: ['instance', id(entity.instance)])}"


def _key(job: Any, reference: Any) -> str:
    held = job.__dict__
    if job.unique is None:
        return str(held["unique_key"])
    values = {
        "worker": held.get("worker"),
        "queue": held.get("queue", "default"),
        "args": held.get("args") or {},
        "meta": held.get("meta") or {},
    }
    key: str = job.unique.key(values, reference)
    return key


def mark(job: Any) -> None:
    """Write what a new job's `unique` says into the columns.

    Raises:
        InvalidJob: one of the keys that it is to be unique by is not there.
    """
    known = is_known(job)
    key = key_of(job) if known else provisional_key(job)  # computed in any case: what is wrong is found at the call
    job.unique_key = key if known else None
    job.unique_states = job.unique.mask
    job.unique_period = job.unique.period
