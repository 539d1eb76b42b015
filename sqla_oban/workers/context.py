"""The job that is running here."""

from contextvars import ContextVar
from typing import Any

from sqla_oban.errors import NoCurrentJob


class RunningJob:
    """What code that runs as part of a job may know of it.

    Attributes:
        id: the job's id.
        queue, worker: where it came from and what runs it.
        attempt, max_attempts: which attempt this is, counted from 1, of how many.
        args: its arguments.
    """

    __slots__ = ("_cancelled", "args", "attempt", "id", "max_attempts", "queue", "worker")

    def __init__(
        self, *, id: int, queue: str, worker: str, attempt: int, max_attempts: int, args: dict[str, Any]
    ) -> None:
        self.id = id
        self.queue = queue
        self.worker = worker
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.args = args
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether the job is to stop. An async worker is cancelled besides; one in a thread must look here."""
        return self._cancelled

    def cancel(self) -> None:
        """Say that the job is to stop."""
        self._cancelled = True


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
