"""The job that is running here."""

from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, overload

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from sqla_oban.errors import NoCurrentJob
from sqla_oban.queries.ack import Ack
from sqla_oban.states import JobState
from sqla_oban.workers.completion import settle
from sqla_oban.workers.part import Part, Upstream


class RunningJob:
    """What code that runs as part of a job may know of it.

    Attributes:
        id: the job's id.
        queue, worker: where it came from and what runs it.
        attempt, max_attempts: which attempt this is, counted from 1, of how many.
        args: its arguments.
        part: its place in its workflow; None if it is part of none.
    """

    __slots__ = (
        "_cancelled",
        "_claimed_at",
        "_schema",
        "args",
        "attempt",
        "id",
        "max_attempts",
        "part",
        "queue",
        "worker",
    )

    def __init__(
        self,
        *,
        id: int,
        queue: str,
        worker: str,
        attempt: int,
        max_attempts: int,
        args: dict[str, Any],
        claimed_at: datetime,
        schema: str | None = None,
    ) -> None:
        self.id = id
        self.queue = queue
        self.worker = worker
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.args = args
        self.part: Part | None = None
        self._claimed_at = claimed_at
        self._schema = schema
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether the job is to stop. An async worker is cancelled besides; one in a thread must look here."""
        return self._cancelled

    @property
    def workflow_id(self) -> int | None:
        """The id of the workflow that the job is part of."""
        return None if self.part is None else self.part.workflow_id

    @property
    def context(self) -> Mapping[str, Any]:
        """What is said to all jobs of its workflow, as it was when this one began; empty without a workflow."""
        return {} if self.part is None else self.part.context

    @property
    def upstream(self) -> Mapping[str, Upstream]:
        """The jobs of its workflow that it has waited for, by their names there; empty if there are none.

        >>> current_job().upstream["extract"].result  # doctest: +SKIP
        {'rows': 12}
        """
        return {} if self.part is None else self.part.upstream

    def cancel(self) -> None:
        """Say that the job is to stop."""
        self._cancelled = True

    @overload
    def complete(self, session: Session | scoped_session[Session]) -> None: ...
    @overload
    def complete(self, session: AsyncSession | async_scoped_session[AsyncSession]) -> Coroutine[Any, Any, None]: ...
    def complete(self, session: Any) -> Coroutine[Any, Any, None] | None:
        """Mark the job completed in the transaction of `session`, which is the worker's to commit.

        What was done in that transaction then happens once, however often the job runs. What the worker returns or
        raises after the commit changes nothing any more; if it rolls back, all goes on as if this had not been called.

        Args:
            session: an AsyncSession (awaited) or a Session (a plain call).

        Raises:
            ClaimLost: the job was given to another meanwhile; roll back.

        >>> async with session.begin():  # doctest: +SKIP
        ...     order.paid = True
        ...     await current_job().complete(session)
        """
        if isinstance(session, scoped_session | async_scoped_session):
            session = session()
        ack = Ack(self.id, self._claimed_at, JobState.COMPLETED)
        if isinstance(session, AsyncSession):
            return session.run_sync(settle, ack, self._schema)
        settle(session, ack, self._schema)
        return None


RUNNING: ContextVar[RunningJob] = ContextVar("sqla_oban_running")


def current_job() -> RunningJob:
    """The job that is running in this task or thread.

    Raises:
        NoCurrentJob: there is none.

    >>> current_job().attempt  # doctest: +SKIP
    1
    """
    try:
        return RUNNING.get()
    except LookupError:
        raise NoCurrentJob("current_job() works only in code that a worker runs for a job") from None
