"""Unique jobs through the unit of work and in bulk.

1. Before a flush sends anything, the keys of its new unique jobs are looked up and those that are free are locked
   (`queries.unique`). Duplicates leave the session, and what refers to them refers to the job that is there.
2. SQLAlchemy inserts the rest itself, in its batches, in its order, with its events.
3. A key that is made of an entity's becomes known later than that: right before the INSERT, if the entity's row comes
   first, else after the flush, by an UPDATE. No stored job can have such an argument; those of the same flush are told
   apart by the instance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, event, inspect
from sqlalchemy.orm import Mapper, Session, UOWTransaction, class_mapper
from sqlalchemy.orm.attributes import instance_state, set_committed_value

from sqla_oban.enqueue.duplicates import Duplicate, by_table, displace, find, prepare, table_of
from sqla_oban.enqueue.references import repoint
from sqla_oban.enqueue.replacing import replace_fields
from sqla_oban.models import JobMixin
from sqla_oban.models.unique_key import is_known, is_unique, key_of, mark
from sqla_oban.queries.unique import identify
from sqla_oban.unique import BITS

KEY = "sqla_oban.unique"
"""Where a session keeps, during a flush, what is still to be done for its unique jobs."""


@dataclass(slots=True)
class Flush:
    """What a flush has still to do for its unique jobs.

    Args:
        twins: duplicates of jobs of the same flush, whose ids are to come.
        unknown: jobs whose keys are made of entities without one.
        late: those of them that were inserted before the keys of their entities were known.
    """

    twins: list[Duplicate] = field(default_factory=list)
    unknown: list[JobMixin] = field(default_factory=list)
    late: list[tuple[Connection, JobMixin]] = field(default_factory=list)


class Parted(NamedTuple):
    """Jobs to be inserted, and duplicates of these."""

    fresh: list[Any]
    twins: list[Duplicate]


@event.listens_for(Session, "before_flush")
def _leave_out(session: Session, _: UOWTransaction, objects: Sequence[object] | None) -> None:
    session.info.pop(KEY, None)
    new = [job for job in session.new if isinstance(job, JobMixin) and (is_unique(job) or job.conflict)]
    if objects:
        new = [job for job in new if job in objects]
    if not new:
        return
    prepare(new)
    flush = session.info[KEY] = Flush()
    for table, jobs in by_table(job for job in new if is_unique(job)).items():
        found = find(
            session.connection({"mapper": class_mapper(type(jobs[0]))}),
            jobs,
            entering=_entering(session, table),
            is_leaving=partial(_is_leaving, session, jobs[0]),
        )
        flush.unknown += [job for job in jobs if job.unique_key is None]
        if found:
            _expunge(session, jobs[0], found)
            flush.twins += [one for one in found if isinstance(one.original, JobMixin)]


def _expunge(session: Session, one: JobMixin, found: list[Duplicate]) -> None:
    for job, original in found:
        session.expunge(job)
        _conflict(job, original)
    repoint(session, found)
    changed = replace_fields(session.connection({"mapper": class_mapper(type(one))}), found)
    for id_ in changed:
        if (stored := _loaded(session, one, id_)) is not None and stored not in session.dirty:
            session.refresh(stored)


def _conflict(job: JobMixin, original: JobMixin | int) -> None:
    job.conflict = True
    if isinstance(original, int):
        job.id = original


def _entering(session: Session, table: Table) -> dict[str, int]:
    """Stored jobs that this flush makes hold their keys, before it inserts."""
    changed = (one for one in session.dirty if isinstance(one, JobMixin) and table_of(one) is table)
    return {str(job.unique_key): job.id for job in changed if _changes_state(job) and _will_hold(job)}


def _is_leaving(session: Session, one: JobMixin, id_: int) -> bool:
    """Whether the stored job of that id will hold its key no longer when this flush inserts."""
    stored = _loaded(session, one, id_)
    return stored is not None and _changes_state(stored) and not _will_hold(stored)


def _loaded(session: Session, one: JobMixin, id_: int) -> JobMixin | None:
    """The stored job of that id, if the session has loaded it; of the same table as `one`."""
    key = class_mapper(type(one)).base_mapper.identity_key_from_primary_key((id_,))
    found: JobMixin | None = session.identity_map.get(key)
    return found


def _changes_state(job: JobMixin) -> bool:
    return bool(inspect(job).attrs.state.history.has_changes())


def _will_hold(job: JobMixin) -> bool:
    return job.unique_key is not None and bool((job.unique_states or 0) & BITS[job.state])


@event.listens_for(JobMixin, "before_insert", propagate=True)
def _identify(_: Mapper[Any], connection: Connection, job: JobMixin) -> None:
    """All whose keys are known by now, at the first of them: one look for many."""
    session = instance_state(job).session
    flush: Flush | None = None if session is None else session.info.get(KEY)
    if flush is None or job not in flush.unknown:
        return
    known = [one for one in flush.unknown if is_known(one) and table_of(one) is table_of(job)]
    for one in known:
        mark(one)
    if job not in known:
        flush.late.append((connection, job))
    if known:
        displace(connection, table_of(job), [str(one.unique_key) for one in known])
    flush.unknown = [one for one in flush.unknown if one not in known and one is not job]


@event.listens_for(Session, "after_flush")
def _complete(session: Session, _: UOWTransaction) -> None:
    flush: Flush | None = session.info.pop(KEY, None)
    if flush is None:
        return
    for connection, job in flush.late:
        key, table = key_of(job), table_of(job)
        displace(connection, table, [key])
        connection.execute(identify(table), {"of_job": job.id, "key": key})
        set_committed_value(job, "unique_key", key)
    settle(flush.twins)


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, _: object) -> None:
    session.info.pop(KEY, None)


def part(target: Session | Connection, jobs: list[Any]) -> Parted:
    """`jobs` without those that are there already, which are told so; first those that are unique.

    Raises:
        InvalidJob: a key that one is to be unique by is not there.
        InvalidEntity: an entity among its args has no key.
        UniqueTimeout: another transaction is enqueueing one of them, and has not ended in time.
    """
    unique = [job for job in jobs if is_unique(job) or job.conflict]
    if not unique:
        return Parted(jobs, [])
    prepare(unique)
    for job in unique:
        key_of(job)
    found: list[Duplicate] = []
    for some in by_table(job for job in unique if is_unique(job)).values():
        mapper = class_mapper(type(some[0]))
        connection = target.connection({"mapper": mapper}) if isinstance(target, Session) else target
        duplicates = find(connection, some, entering={}, is_leaving=lambda _: False)
        replace_fields(connection, duplicates)
        found += duplicates
    for job, original in found:
        _conflict(job, original)
    fresh = [job for job in unique if not job.conflict]
    return Parted(fresh + [job for job in jobs if not (is_unique(job) or job.conflict)], _twins(found))


def _twins(found: Iterable[Duplicate]) -> list[Duplicate]:
    return [one for one in found if isinstance(one.original, JobMixin)]


def settle(twins: Iterable[Duplicate]) -> None:
    """Tell duplicates of jobs that are inserted by now the ids of these."""
    for job, original in twins:
        if isinstance(original, JobMixin):
            job.id = original.id
