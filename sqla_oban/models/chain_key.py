"""The chain of a job: its key, and which of its rows has its turn."""

from typing import Any, Final

from sqla_oban.models.entity import Entity, entities

OCCUPIES: Final = (
    "{job}chain_key IS NOT NULL AND ({job}state IN ('available', 'scheduled', 'executing', 'retryable') "
    "OR {job}state = 'discarded' AND {job}chain_hold)"
)
"""Whether a row has the turn of its chain, in SQL: the predicate of a unique index.

INVARIANT: no two rows of which this is true have the same key. The index says so; the triggers see to it that nobody
runs into it (`migrations/chains.py`).
"""
WAITS: Final = "{job}chain_key IS NOT NULL AND {job}state = 'suspended' AND {job}chain_waits"
"""Whether a row waits for the turn of its chain, and not for something else."""


def key_of(job: Any) -> str | None:
    """The key of a new job's chain as it is now; None while an entity that it is made of has no key itself.

    Raises:
        InvalidJob: one of the arguments that it is made of is not there.
        InvalidEntity: the key of an entity cannot be stored.
    """
    args = job.__dict__.get("args") or {}
    known = all(entity.key() is not None for entity in entities({name: args.get(name) for name in job.chain.by}))
    key: str = job.chain.key(job.worker, args, Entity.reference if known else id)
    return key if known else None


def mark(job: Any) -> None:
    """Write what a new job's `chain` says into the columns.

    Raises:
        InvalidJob: one of the arguments that its key is made of is not there.
    """
    job.chain_key = key_of(job)
    job.chain_hold = job.chain.holds
