"""Steering jobs: get, cancel, retry, delete, update."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypedDict, Unpack, overload

from sqlalchemy import Executable, Select, cast, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.control.selection import LARGEST, Selection, selected
from sqla_oban.control.sessions import Sessions
from sqla_oban.errors import InvalidJob, InvalidSelection, JobIsExecuting, JobNotFound, UnknownOption, shown
from sqla_oban.models import Job
from sqla_oban.models.base import UTCDateTime
from sqla_oban.models.checks import checked_name
from sqla_oban.queries import cancel as cancelling
from sqla_oban.queries import delete as deleting
from sqla_oban.queries import retry as retrying
from sqla_oban.queries import update as updating
from sqla_oban.queries.expressions import now
from sqla_oban.queries.lock import lock
from sqla_oban.states import JobState
from sqla_oban.workers.options import CHECKS, json_object


class JobFields(TypedDict, total=False):
    """What `update` may change."""

    worker: str
    args: Mapping[str, Any]
    queue: str
    priority: int
    max_attempts: int
    tags: Collection[str]
    meta: Mapping[str, Any]
    schedule_in: float | timedelta
    scheduled_at: datetime


class Jobs:
    """`oban.jobs`: what can be done to jobs that are stored.

    Jobs are meant by an id, by a `Job`, by several of either, or by a `select(Job)` with a condition. Every verb takes
    part in the transaction of `session` if one is given, and commits its own otherwise.

    >>> await oban.jobs.cancel(select(Job).where(Job.queue == "mailers"))  # doctest: +SKIP
    12
    """

    def __init__(self, sessions: Sessions, *, schema: str | None) -> None:
        self._sessions = sessions
        self._schema = schema

    async def get(self, id: int, *, session: AsyncSession | None = None) -> Job | None:
        """The job as it is stored now, or None if there is none of that id.

        Raises:
            InvalidSelection: `id` is no integer.
        """
        return await self._sessions.run(partial(get, id=id), session)

    async def cancel(self, which: Selection, *, session: AsyncSession | None = None) -> int:
        """Cancel jobs; returns how many had not ended yet.

        A job that waits is `cancelled` at once. One that runs is marked in the database, and its node stops it: an
        async worker is cancelled where it awaits, one in a thread is told through `current_job().cancelled`. It ends
        `cancelled` whatever the worker then does.

        Raises:
            InvalidSelection: `which` selects nothing that could be meant, or everything.
        """
        return await self._sessions.run(partial(cancel, which=which, schema=self._schema), session)

    async def retry(self, which: Selection, *, session: AsyncSession | None = None) -> int:
        """Make jobs available again that have ended or wait; returns how many.

        One without an attempt left gets one more. Those that are available or executing stay as they are.

        Raises:
            InvalidSelection: `which` selects nothing that could be meant, or everything.
        """
        return await self._sessions.run(partial(retry, which=which, schema=self._schema), session)

    async def delete(self, which: Selection, *, session: AsyncSession | None = None) -> int:
        """Delete jobs that do not run; returns how many.

        Raises:
            InvalidSelection: `which` selects nothing that could be meant, or everything.
        """
        return await self._sessions.run(partial(delete, which=which), session)

    @overload
    async def update(
        self, which: int | Job, *, session: AsyncSession | None = None, **fields: Unpack[JobFields]
    ) -> Job: ...
    @overload
    async def update(
        self,
        which: Iterable[int | Job] | Select[Any],
        *,
        session: AsyncSession | None = None,
        **fields: Unpack[JobFields],
    ) -> list[Job]: ...
    async def update(
        self, which: Selection, *, session: AsyncSession | None = None, **fields: Unpack[JobFields]
    ) -> Job | list[Job]:
        """Change fields of jobs that do not run, under a lock; returns them as they are then.

        Args:
            which: the jobs; for a single id or job that job is returned, else a list.
            session: whose transaction to take part in.
            **fields: `worker`, `args`, `queue`, `priority`, `max_attempts`, `tags`, `meta`, and `schedule_in` or
                `scheduled_at`, after which an available job is scheduled or the other way round.

        Raises:
            JobNotFound: there is no job of that id.
            JobIsExecuting: one of them runs; nothing was changed.
            UnknownOption: there is no such field, or it is none to be set.
            InvalidJob, UnserialisableValue: a value is out of range.
            InvalidSelection: `which` selects nothing that could be meant, or everything.

        >>> await oban.jobs.update(job.id, priority=0, schedule_in=60)  # doctest: +SKIP
        """
        checked = checked_fields(fields)
        change = partial(update, which=which, values=checked, schema=self._schema)
        jobs = await self._sessions.run(change, session)
        return jobs[0] if isinstance(which, int | Job) else jobs


def get(session: Session, id: int) -> Job | None:
    """The job as it is stored now, or None."""
    if isinstance(id, bool) or not isinstance(id, int):
        raise InvalidSelection(f"a job is got by its id, got {shown(id)}")
    return session.get(Job, id, populate_existing=True) if 0 < id <= LARGEST else None


def cancel(session: Session, which: Selection, schema: str | None = None) -> int:
    """End jobs that wait, have those stopped that run; returns how many had not ended yet."""
    return len(_changed(session, which, lambda ids: cancelling.cancel(ids, schema)))


def retry(session: Session, which: Selection, schema: str | None = None) -> int:
    """Make jobs available again; returns how many."""
    return len(_changed(session, which, lambda ids: retrying.retry(ids, schema)))


def delete(session: Session, which: Selection) -> int:
    """Delete jobs that do not run; returns how many."""
    gone = set(session.scalars(deleting.delete(selected(which))))
    for job in _loaded(session, gone):
        session.expunge(job)
    return len(gone)


def update(session: Session, which: Selection, values: Mapping[str, Any], schema: str | None = None) -> list[Job]:
    """Change fields of jobs that do not run; `values` are those of `checked_fields`."""
    found = session.execute(lock(selected(which))).all()
    if isinstance(which, int | Job) and not found:
        raise JobNotFound(f"there is no job {which if isinstance(which, int) else which.id}")
    if running := [row.id for row in found if row.state == JobState.EXECUTING]:
        raise JobIsExecuting(f"job {running[0]} is executing and cannot be changed; cancel it, or wait for its end")
    most = values.get("max_attempts")
    if most is not None and (tried := [row for row in found if row.attempt > most]):
        raise InvalidJob(f"max_attempts must be at least {tried[0].attempt}, which job {tried[0].id} has had already")
    ids = [row.id for row in found]
    if values and ids:
        session.execute(updating.update(values, schema), {"ids": ids})
    query = select(Job).where(Job.id.in_(ids)).order_by(Job.id)
    return list(session.scalars(query, execution_options={"populate_existing": True}))


def checked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What to write into the columns for `fields`.

    Raises:
        UnknownOption: there is no such field, or it is none to be set.
        InvalidJob, UnserialisableValue: a value is out of range.
    """
    checks: dict[str, Callable[[Any], Any]] = {
        **{name: check for name, check in CHECKS.items() if name != "unique"},  # which is about the INSERT
        "worker": partial(checked_name, "worker"),
        "args": partial(json_object, "args"),
    }
    for name in fields:
        if name not in checks:
            raise UnknownOption(name, checks, "oban.jobs.update()")
    if {"schedule_in", "scheduled_at"} <= fields.keys():
        raise InvalidJob("oban.jobs.update() takes schedule_in or scheduled_at, not both")
    values = {name: checks[name](value) for name, value in fields.items()}
    if (delay := values.pop("schedule_in", None)) is not None:
        values["scheduled_at"] = now() + delay
    elif (due := values.get("scheduled_at")) is not None:
        values["scheduled_at"] = cast(literal(due, UTCDateTime()), UTCDateTime())
    return values


def _changed(session: Session, which: Selection, statement: Callable[[Select[Any]], Executable]) -> set[int]:
    """The ids that a statement has changed; what the session had loaded of them is read anew."""
    ids = set(session.scalars(statement(selected(which))))
    if stale := [job.id for job in _loaded(session, ids)]:
        session.scalars(select(Job).where(Job.id.in_(stale)), execution_options={"populate_existing": True}).all()
    return ids


def _loaded(session: Session, ids: Collection[int]) -> list[Job]:
    return [one for one in session.identity_map.values() if isinstance(one, Job) and one.id in ids]
