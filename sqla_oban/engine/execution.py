"""A claimed job on its way through this node."""

import asyncio
from collections.abc import Mapping
from typing import Any

from sqla_oban.engine.parts import NO_PARTS, Parts
from sqla_oban.queries.ack import Ack
from sqla_oban.queries.claim import Claimed
from sqla_oban.workers.context import RunningJob


class Execution:
    """A claimed job on its way through this node.

    Attributes:
        claimed: the row.
        task: what runs it.
        parts: the places in workflows that were looked up for jobs claimed with it; without its own, it is asked alone.
        own: the values of the columns that the class of its worker's jobs has of its own; None until they are read.
        running: what its code sees of it; None until the worker was found.
        abandoned: whether the node has given it up, so that it has no outcome.
        cancelled: whether somebody wants it cancelled, which is what it ends as.
        limit: seconds that its work may take; None for no limit.
        timed_out: whether it took longer than that.
        leftover: code of the job that goes on after `task` has ended, because it could not be stopped.
    """

    __slots__ = (
        "_alarm",
        "abandoned",
        "cancelled",
        "claimed",
        "leftover",
        "limit",
        "own",
        "parts",
        "running",
        "task",
        "timed_out",
    )

    def __init__(self, claimed: Claimed, parts: Parts = NO_PARTS) -> None:
        self.claimed = claimed
        self.parts = parts
        self.own: Mapping[str, Any] | None = None
        self.task: asyncio.Task[Ack | None] | None = None
        self.running: RunningJob | None = None
        self.abandoned = False
        self.cancelled = False
        self.timed_out = False
        self.leftover: asyncio.Future[Any] | None = None
        self.limit: float | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Its work begins: from now on its limit counts, and not while a process is started for it."""
        if self.limit is not None:
            self._alarm = asyncio.get_running_loop().call_later(self.limit, self.time_out)

    def end(self) -> None:
        """Its work has ended: the limit does not count any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    def abandon(self) -> None:
        """Stop the job, as far as its kind can be stopped; if it ends with a result all the same, that counts."""
        self.abandoned = True
        self._stop()

    def cancel(self) -> None:
        """Stop the job likewise, once: a second cancellation would disturb how it cleans up after the first."""
        if not self.cancelled:
            self.cancelled = True
            if self.running is not None:  # else it has not begun, and will not
                self._stop()

    def time_out(self) -> None:
        """Stop the job likewise; if it ends with a result all the same, that counts."""
        self.timed_out = True
        self._stop()

    def _stop(self) -> None:
        if self.running is not None:
            self.running.cancel()
        if self.task is not None:
            self.task.cancel()
