"""Steering batches: get, cancel, retry."""

from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.control import jobs
from sqla_oban.control.sessions import Sessions
from sqla_oban.errors import InvalidSelection, shown
from sqla_oban.models import Batch, Job, Scope
from sqla_oban.states import JobState
from sqla_oban.workers.batches import batch_by_id


class Batches:
    """`oban.batches`: what can be done to batches.

    Every verb takes part in the transaction of `session` if one is given, and commits its own otherwise.

    >>> (await oban.batches.get(batch.id)).counts  # doctest: +SKIP
    {'completed': 98, 'executing': 2}
    """

    def __init__(self, sessions: Sessions, scope: Scope) -> None:
        self._sessions = sessions
        self._scope = scope

    async def get(self, id: UUID, *, session: AsyncSession | None = None) -> Batch | None:
        """The batch as it is stored now, with the `counts` of its jobs by state; None if there is none of that id.

        Raises:
            InvalidSelection: `id` is no UUID.
        """
        return await self._sessions.run(partial(get, id=id), session)

    async def cancel(self, id: UUID, *, session: AsyncSession | None = None) -> int:
        """Cancel the jobs of a batch, as `oban.jobs.cancel` does; returns how many had not ended yet.

        Raises:
            InvalidSelection: `id` is no UUID.
        """
        return await self._sessions.run(partial(cancel, id=id, scope=self._scope), session)

    async def retry(self, id: UUID, *, session: AsyncSession | None = None) -> int:
        """Make those jobs of a batch available again that were cancelled or discarded; returns how many.

        What the batch has come to already it does not come to again.

        Raises:
            InvalidSelection: `id` is no UUID.
        """
        return await self._sessions.run(partial(retry, id=id, scope=self._scope), session)


def get(session: Session, id: UUID) -> Batch | None:
    """The batch with its counts, or None."""
    return batch_by_id(session, _checked(id), None)


def cancel(session: Session, id: UUID, scope: Scope) -> int:
    """Cancel the jobs of a batch that have not ended."""
    ids = session.scalars(select(Job.id).where(Job.batch_id == _checked(id)).order_by(Job.id)).all()
    return jobs.cancel(session, ids, scope)


def retry(session: Session, id: UUID, scope: Scope) -> int:
    """Have those run again that ended badly."""
    failed = Job.state.in_([JobState.CANCELLED, JobState.DISCARDED])
    ids = session.scalars(select(Job.id).where(Job.batch_id == _checked(id), failed).order_by(Job.id)).all()
    return jobs.retry(session, ids, scope)


def _checked(id: object) -> UUID:
    if not isinstance(id, UUID):
        raise InvalidSelection(f"a batch is meant by its id, a UUID, got {shown(id)}")
    return id
