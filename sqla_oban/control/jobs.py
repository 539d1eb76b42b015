"""Steering jobs: get, cancel, retry, delete, update."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Unpack, cast, overload

from sqlalchemy import Executable, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.control.job_fields import JobFields, checked_fields
from sqla_oban.control.selection import EVERYWHERE, LARGEST, Selection, entity, job_id, selected
from sqla_oban.control.sessions import Sessions, placed
from sqla_oban.control.signals import Signal
from sqla_oban.errors import (
    InvalidJob,
    InvalidSelection,
    JobHasEnded,
    JobIsExecuting,
    JobNotFound,
    shown,
)
from sqla_oban.models import Job, JobMixin, Scope, table_of
from sqla_oban.queries import cancel as cancelling
from sqla_oban.queries import delete as deleting
from sqla_oban.queries import retry as retrying
from sqla_oban.queries import signal as signalling
from sqla_oban.queries import update as updating
from sqla_oban.queries.lock import lock
from sqla_oban.states import FINAL, JobState


class Jobs:
    """`oban.jobs`: what can be done to jobs that are stored.

    Jobs are meant by an id, by a `Job`, by several of either, or by a `select(Job)` with a condition. Every verb takes
    part in the transaction of `session` if one is given, and commits its own otherwise.

    >>> await oban.jobs.cancel(select(Job).where(Job.queue == "mailers"))  # doctest: +SKIP
    12
    """

    def __init__(self, sessions: Sessions, scope: Scope) -> None:
        self._sessions = sessions
        self._scope = scope

    async def get(self, id: int, *, session: AsyncSession | None = None) -> Job | None:
        """The job as it is stored now, or None if there is none of that id.

        Raises:
            InvalidSelection: `id` is no integer.
        """
        return await self._sessions.run(partial(get, id=id, scope=self._scope), session)

    async def cancel(self, which: Selection, *, session: AsyncSession | None = None) -> int:
        """Cancel jobs; returns how many had not ended yet.

        A job that waits is `cancelled` at once. One that runs is marked in the database, and its node stops it: an
        async worker is cancelled where it awaits, one in a thread is told through `current_job().cancelled`. It ends
        `cancelled` whatever the worker then does.

        Raises:
            InvalidSelection: `which` selects nothing that could be meant, or everything.
        """
        return await self._sessions.run(partial(cancel, which=which, scope=self._scope), session)

    async def retry(self, which: Selection, *, session: AsyncSession | None = None) -> int:
        """Make jobs available again that have ended or wait; returns how many.

        One without an attempt left gets one more. Those that are available or executing stay as they are.

        Raises:
            InvalidSelection: `which` selects nothing that could be meant, or everything.
        """
        return await self._sessions.run(partial(retry, which=which, scope=self._scope), session)

    async def delete(self, which: Selection, *, session: AsyncSession | None = None) -> int:
        """Delete jobs that do not run; returns how many.

        Raises:
            InvalidSelection: `which` selects nothing that could be meant, or everything.
        """
        return await self._sessions.run(partial(delete, which=which, scope=self._scope), session)

    @overload
    async def update(
        self, which: int | JobMixin, *, session: AsyncSession | None = None, **fields: Unpack[JobFields]
    ) -> Job: ...
    @overload
    async def update(
        self,
        which: Iterable[int | JobMixin] | Select[Any],
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
            **fields: `worker`, `args`, `queue`, `priority`, `max_attempts`, `tags`, `meta`, `weight`, and `schedule_in`
                or `scheduled_at`, after which an available job is scheduled or the other way round.

        Raises:
            JobNotFound: there is no job of that id.
            JobIsExecuting: one of them runs; nothing was changed.
            UnknownOption: there is no such field, or it is none to be set.
            InvalidJob, UnserialisableValue: a value is out of range.
            InvalidSelection: `which` selects nothing that could be meant, or everything.

        >>> await oban.jobs.update(job.id, priority=0, schedule_in=60)  # doctest: +SKIP
        """
        checked = checked_fields(fields)
        change = partial(update, which=which, values=checked, scope=self._scope)
        jobs = await self._sessions.run(change, session)
        return jobs[0] if isinstance(which, int | JobMixin) else jobs

    async def signal(
        self,
        which: int | JobMixin,
        payload: Any = None,
        *,
        name: str = signalling.DEFAULT_SIGNAL,
        session: AsyncSession | None = None,
    ) -> bool:
        """Give a job what it waits for, or will wait for, by `current_job().signal()`; returns whether it was taken.

        The first signal of a name counts and is kept with the job; a second one changes nothing and is not taken.

        Args:
            which: the job, or its id.
            payload: a JSON value.
            name: which signal, where the job waits for several.
            session: whose transaction to take part in.

        Raises:
            JobNotFound: there is no job of that id.
            JobHasEnded: it has ended.
            UnserialisableValue: the payload is no JSON value.
            InvalidArguments, InvalidSelection: the name, or the job, is none.

        >>> await oban.jobs.signal(job.id, {"by": "anna"}, name="approved")  # doctest: +SKIP
        True
        """
        given = Signal(name, payload)
        return await self._sessions.run(partial(signal, which=which, given=given, scope=self._scope), session)


def get(session: Session, id: int, scope: Scope = EVERYWHERE) -> Job | None:
    """The job as it is stored now, or None."""
    if isinstance(id, bool) or not isinstance(id, int):
        raise InvalidSelection(f"a job is got by its id, got {shown(id)}")
    if not 0 < id <= LARGEST:
        return None
    return session.get(_kind(scope), id, populate_existing=True, execution_options=placed(scope.model))


def cancel(session: Session, which: Selection, scope: Scope = EVERYWHERE) -> int:
    """End jobs that wait, have those stopped that run; returns how many had not ended yet."""
    return len(_changed(session, which, scope, lambda ids: cancelling.cancel(ids, scope.schema)))


def retry(session: Session, which: Selection, scope: Scope = EVERYWHERE) -> int:
    """Make jobs available again; returns how many."""
    return len(_changed(session, which, scope, lambda ids: retrying.retry(ids, scope.schema)))


def delete(session: Session, which: Selection, scope: Scope = EVERYWHERE) -> int:
    """Delete jobs that do not run; returns how many."""
    gone = set(session.scalars(deleting.delete(_chosen(session, which, scope))))
    for job in _loaded(session, gone, scope):
        session.expunge(job)
    return len(gone)


def signal(session: Session, which: int | JobMixin, given: Signal, scope: Scope = EVERYWHERE) -> bool:
    """Give a job a signal; returns whether it was taken."""
    if not isinstance(which, int | JobMixin):
        raise InvalidSelection(f"one job is given a signal, by its id or itself, got {shown(which)}")
    text = {"name": given.name, "payload": given.payload}
    if _changed(session, which, scope, lambda ids: signalling.give(ids, scope.schema, **text)):
        return True
    named = which if isinstance(which, int) else job_id(which)
    found = session.execute(lock(selected(which, scope))).one_or_none()
    if found is None:
        raise JobNotFound(f"there is no job {named}")
    if found.state in FINAL:
        raise JobHasEnded(f"job {named} is {found.state} and takes no signal")
    return False


def update(session: Session, which: Selection, values: Mapping[str, Any], scope: Scope = EVERYWHERE) -> list[Job]:
    """Change fields of jobs that do not run; `values` are those of `checked_fields`."""
    found = session.execute(lock(_chosen(session, which, scope))).all()
    if isinstance(which, int | JobMixin) and not found:
        raise JobNotFound(f"there is no job {which if isinstance(which, int) else job_id(which)}")
    if running := [row.id for row in found if row.state == JobState.EXECUTING]:
        raise JobIsExecuting(f"job {running[0]} is executing and cannot be changed; cancel it, or wait for its end")
    most = values.get("max_attempts")
    if most is not None and (tried := [row for row in found if row.attempt > most]):
        raise InvalidJob(f"max_attempts must be at least {tried[0].attempt}, which job {tried[0].id} has had already")
    ids = [row.id for row in found]
    if values and ids:
        session.execute(updating.update(values, scope.schema), {"ids": ids})
    return _read(session, _kind(scope), ids)


def _kind(scope: Scope) -> type[Job]:
    """The class of the jobs; for the type checker our own, which has the same attributes."""
    return cast(type[Job], scope.model)


def _chosen(session: Session, which: Selection, scope: Scope) -> Select[Any]:
    """A query for the ids of the jobs that are meant.

    That of a caller may read tables of his own, beside jobs whose class names their schema. It is run by itself then,
    as he wrote it, and locks what it finds, so that its conditions hold for the rest of the transaction.
    """
    query = selected(which, scope)
    if not isinstance(which, Select) or (model := entity(which)) is None or not placed(model):
        return query
    ids = session.scalars(query.with_for_update(of=table_of(model)), execution_options=placed(model)).all()
    return selected(ids, scope)


def _changed(
    session: Session, which: Selection, scope: Scope, statement: Callable[[Select[Any]], Executable]
) -> set[int]:
    """The ids that a statement has changed; what the session had loaded of them is read anew."""
    ids = set(session.scalars(statement(_chosen(session, which, scope))))
    loaded = _loaded(session, ids, scope)
    for kind in {type(job) for job in loaded}:
        _read(session, kind, [identity for job in loaded if (identity := job_id(job)) is not None])
    return ids


def _read(session: Session, kind: type[Job], ids: Collection[int]) -> list[Job]:
    """Jobs as they are stored now."""
    query = select(kind).where(kind.id.in_(ids)).order_by(kind.id)
    return list(session.scalars(query, execution_options={"populate_existing": True, **placed(kind)}))


def _loaded(session: Session, ids: Collection[int], scope: Scope) -> list[Job]:
    jobs = (one for one in session.identity_map.values() if isinstance(one, JobMixin))
    return [cast(Job, one) for one in jobs if job_id(one) in ids and scope.holds(type(one))]
