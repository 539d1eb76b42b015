"""Claims jobs of one queue, as many as there are free slots, and sets them running."""

import asyncio
import logging
import math
import time
from functools import partial
from operator import attrgetter
from uuid import UUID

from sqla_oban import telemetry
from sqla_oban.engine.acker import Acker
from sqla_oban.engine.database import Link
from sqla_oban.engine.executor import Execution, Executor
from sqla_oban.engine.service import Service
from sqla_oban.engine.sleep import Sleep
from sqla_oban.queries.ack import Ack
from sqla_oban.queries.claim import CLAIM, Claimed, Cursor
from sqla_oban.queries.release import release
from sqla_oban.states import JobState
from sqla_oban.telemetry.events import JobsClaimed, JobsReleased

log = logging.getLogger(__name__)

START = Cursor()
REWIND = 1.0
"""Seconds after which a queue that is being drained is looked at from its start again."""
COOLDOWN = 0.005
"""Seconds a queue must be full before the producer asks not to be rung."""
ACKS_FULL = 0.1
"""Seconds until the next look when too many outcomes wait for the database."""
AUDIT = 60.0
"""Seconds between two checks for jobs that are held here without running."""

in_order = attrgetter("priority", "scheduled_at", "id")


class Producer(Service):
    """Keeps up to `limit` jobs of `queue` running.

    Two invariants:

    * `_running` and the acker's pending outcomes are all that this producer holds. After a claim whose answer was
      lost that may be untrue, and before the next claim whatever else is executing in its name is handed back.
    * The cursor is only a shortcut. Jobs that arrive before it are found when the notifier or the stager says so,
      when a claim comes back short, and once a second in any case.
    """

    def __init__(
        self,
        link: Link,
        executor: Executor,
        acker: Acker,
        sleep: Sleep,
        *,
        uuid: UUID,
        node: str,
        queue: str,
        limit: int,
        schema: str | None,
    ) -> None:
        super().__init__(node=node, interval=AUDIT)
        self.uuid = uuid
        self.queue = queue
        self.limit = limit
        self._link = link
        self._executor = executor
        self._acker = acker
        self._sleep = sleep
        self._holder = [node, str(uuid)]
        self._release = release(schema)
        self._running: set[Execution] = set()
        self._cursor = START
        self._rewound = -math.inf
        self._audited = time.monotonic()
        self._full_since: float | None = None
        self._paused = False

    @property
    def asleep(self) -> bool:
        """Whether the queue has room, so that a lost wake-up would matter."""
        return len(self._running) < self.limit and not self._paused

    @property
    def running(self) -> int:
        """How many jobs run here now."""
        return len(self._running)

    def look(self) -> None:
        """There may be new work, anywhere in the queue. Safe from any thread."""
        self._rewound = -math.inf
        self.wake()

    async def tick(self) -> float | None:
        """Claim until nothing is left or every slot is taken."""
        if time.monotonic() - self._audited > AUDIT:
            await self._audit()
        while (demand := self._demand()) > 0 and not self.stopping:
            self._full_since = None
            claimed = await self._claim(demand)
            if self._paused:  # meanwhile: these may be others' by now; the audit that `resume` asks for sorts it out
                return None
            self._set_running(claimed)
            if len(claimed) < demand and not await self._is_more_expected():
                return self._sleep.pause
        return await self._wait_for_room()

    async def drain(self, seconds: float) -> None:
        """Wait for the running jobs to end, at most so long."""
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=seconds)

    async def abandon(self, seconds: float) -> int:
        """Stop the running jobs, wait at most so long for them to see it, and say how many there were."""
        abandoned = list(self._running)
        for execution in abandoned:
            execution.abandon()
        await self.drain(seconds)
        return len(abandoned)

    def pause(self) -> None:
        """Claim nothing and stop what runs: this node may count as dead. What runs on has lost its claim."""
        self._paused = True
        for execution in self._running:
            execution.abandon()

    def resume(self) -> None:
        """Claim again, once what was stopped has been handed back."""
        self._paused = False
        self._audited = -math.inf
        self.look()

    def cancel(self, job_id: int, attempt: int | None) -> None:
        """Stop a job if it runs here, in that attempt or whichever it is in."""
        for execution in self._running:
            if execution.claimed.id == job_id and attempt in (None, execution.claimed.attempt):
                execution.cancel()

    async def release(self) -> None:
        """Hand back what is still executing in this producer's name and is not running here."""
        keep = [one.claimed.id for one in self._running if not one.abandoned] + self._acker.pending_ids
        rows = await self._link.execute(self._release, {"producer": str(self.uuid), "keep": keep})
        if rows:
            ids = tuple(row[0] for row in rows)
            log.warning("handed back %d jobs of queue %r that had not ended here", len(ids), self.queue)
            telemetry.emit(JobsReleased(node=self.node, queue=self.queue, ids=ids))

    def _demand(self) -> int:
        return 0 if self._paused else min(self.limit - len(self._running), self._acker.room)

    async def _claim(self, demand: int) -> list[Claimed]:
        if time.monotonic() - self._rewound > REWIND:
            self._rewound, self._cursor = time.monotonic(), START
        asked = {"of_queue": self.queue, "demand": demand, "holder": self._holder, **self._cursor._asdict()}
        try:
            rows = await self._link.execute(CLAIM, asked)
        except BaseException:
            self._audited = -math.inf  # the claim may have taken effect, and nobody runs what it took
            raise
        # Text compares as the moments do within Python's calendar; a foreign row from beyond it may come out of
        # order, and the cursor may then pass over jobs until it is rewound.
        claimed = sorted((Claimed._make(row) for row in rows), key=in_order)
        if claimed:
            self._cursor = Cursor.behind(claimed)
            telemetry.emit(JobsClaimed(node=self.node, queue=self.queue, count=len(claimed)))
        return claimed

    async def _is_more_expected(self) -> bool:
        """After a short claim: whether there may be more, before the cursor or in commits under way."""
        if self._cursor != START:
            self._rewound, self._cursor = time.monotonic(), START
            return True
        return await self._sleep.fall()

    def _set_running(self, claimed: list[Claimed]) -> None:
        for row in claimed:
            if row.state is JobState.DISCARDED:
                log.warning("discarded job %d of queue %r: it had no attempt left", row.id, self.queue)
                continue
            execution = Execution(row)
            self._running.add(execution)
            execution.task = asyncio.create_task(self._executor.execute(execution))
            execution.task.add_done_callback(partial(self._ended, execution))

    def _ended(self, execution: Execution, task: asyncio.Task[Ack | None]) -> None:
        """First into the acker, then out of the running: a job is never in neither."""
        if not task.cancelled() and (ack := task.result()) is not None:
            self._acker.add(ack)
        self._running.discard(execution)
        self._bell.set()

    async def _wait_for_room(self) -> float | None:
        if not self._paused and self._acker.room <= 0:
            return ACKS_FULL
        if not self._sleep.holds_key:
            return None
        if self._full_since is None:
            self._full_since = time.monotonic()
        if time.monotonic() - self._full_since < COOLDOWN:
            return COOLDOWN
        await self._sleep.end()
        return None

    async def _audit(self) -> None:
        await self.release()
        self._audited = time.monotonic()

    def _tasks(self) -> list[asyncio.Task[Ack | None]]:
        return [execution.task for execution in self._running if execution.task is not None]
