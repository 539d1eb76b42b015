"""The job that is running here."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, overload

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from sqla_oban.errors import NoCurrentJob
from sqla_oban.models import Batch
from sqla_oban.queries.ack import Ack
from sqla_oban.queries.claim import Claimed
from sqla_oban.queries.signal import DEFAULT_SIGNAL
from sqla_oban.states import JobState
from sqla_oban.workers.batches import batch_of
from sqla_oban.workers.completion import settle
from sqla_oban.workers.parking import Claim, received
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
        *("_begun", "_cancelled", "_claimed_at", "_meta", "_schema"),
        *("args", "attempt", "id", "max_attempts", "part", "queue", "worker"),
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
        meta: str = "{}",
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
        self._meta = meta
        self._begun = time.monotonic()
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

    def signal(self, name: str = DEFAULT_SIGNAL, *, timeout: float | timedelta | None = None) -> Any:
        """The payload that `oban.jobs.signal` gives the job under this name; awaited in async code.

        If it has not come yet the job is put aside: this execution ends here, its place in the queue is free and its
        attempt refunded, and its process may end. When the signal comes, the worker is called again from its beginning,
        and this returns the payload at once, then and in any later attempt. So what stands before it runs again: put
        it first, or make that harmless. What a transactional worker's session has done before is rolled back.

        Call it from the worker's own code, outside of task groups, and do not catch BaseException around it.

        Args:
            name: which signal, where a job waits for several; 1 to 127 characters.
            timeout: seconds or a timedelta, counted from the first call for this name; default: for ever. It holds
                for all attempts, until the job is retried by `oban.jobs.retry`.

        Raises:
            SignalTimeout: it did not come in time.
            InvalidArguments: the name or the timeout is none.

        >>> decision = await current_job().signal("approved", timeout=timedelta(days=3))  # doctest: +SKIP
        """
        claim = Claim(self._meta, self._claimed_at)
        payload = received(name, timeout, claim, time.monotonic() - self._begun)
        return _ready(payload) if _in_a_loop() else payload

    @overload
    def batch(self, session: Session | scoped_session[Session]) -> Batch | None: ...
    @overload
    def batch(
        self, session: AsyncSession | async_scoped_session[AsyncSession]
    ) -> Coroutine[Any, Any, Batch | None]: ...
    def batch(self, session: Any) -> Coroutine[Any, Any, Batch | None] | Batch | None:
        """The batch that the job is of, or that it is a callback of, with its `counts` now; None if there is none.

        Args:
            session: an AsyncSession (awaited) or a Session (a plain call), to which the batch then belongs.

        >>> batch = await current_job().batch(session)  # doctest: +SKIP
        >>> batch.add(transcode.new(part))  # doctest: +SKIP
        """
        if isinstance(session, scoped_session | async_scoped_session):
            session = session()
        if isinstance(session, AsyncSession):
            return session.run_sync(batch_of, self.id, self._schema)
        return batch_of(session, self.id, self._schema)


async def _ready(payload: Any) -> Any:
    return payload


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def running_job(claimed: Claimed, args: dict[str, Any], *, queue: str, schema: str | None) -> RunningJob:
    """What code of a claimed job may know of it; `args` are its own, read."""
    return RunningJob(
        id=claimed.id,
        queue=queue,
        worker=claimed.worker,
        attempt=claimed.attempt,
        max_attempts=claimed.max_attempts,
        args=args,
        claimed_at=claimed.attempted_at,
        meta=claimed.meta,
        schema=schema,
    )


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
