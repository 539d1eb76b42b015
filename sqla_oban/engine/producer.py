"""Claims jobs of one queue, as many as there are free slots, and sets them running."""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqla_oban import telemetry
from sqla_oban.engine.acker import Acker
from sqla_oban.engine.claims import Claims
from sqla_oban.engine.database import Link
from sqla_oban.engine.executor import Executor
from sqla_oban.engine.failures import concerns_a_row
from sqla_oban.engine.front import Front
from sqla_oban.engine.herd import Herd
from sqla_oban.engine.hush import EVERY, Hush
from sqla_oban.engine.limits import Limits
from sqla_oban.engine.parts import has_part
from sqla_oban.engine.running import Running
from sqla_oban.engine.service import Service
from sqla_oban.engine.sleep import Sleep
from sqla_oban.errors import reason
from sqla_oban.queries.claim import Claimed
from sqla_oban.queries.release import HELD, release
from sqla_oban.states import JobState
from sqla_oban.telemetry.events import JobRefused, JobsClaimed, JobsReleased, QueuePaused, QueueResumed, QueueScaled

log = logging.getLogger(__name__)

COOLDOWN = 0.005
"""Seconds a queue must be full before the producer asks not to be rung."""
ACKS_FULL = 0.1
"""Seconds until the next look when too many outcomes wait for the database."""
AUDIT = 60.0
"""Seconds between two checks for jobs that are held here without running."""

in_order = attrgetter("priority", "scheduled_at", "id")


class Producer(Service):
    """Keeps up to `limit` jobs of `queue` running.

    Two things keep it from claiming, each for itself: an operator's pause, during which what runs goes on, and the
    fence around a node that may count as dead, which stops what runs.

    Its `started_at` is the moment of its first beat, by PostgreSQL's clock; `claims` know its limits over all nodes.

    Two invariants:

    * `running` and the acker's pending outcomes are all that this producer holds. After a claim whose answer was
      lost that may be untrue, and before the next claim whatever else is executing in its name is handed back.
    * The front is only a shortcut: jobs that arrive before it are found as `engine.front` says.
    """

    def __init__(
        self,
        link: Link,
        executor: Executor,
        acker: Acker,
        sleep: Sleep,
        hush: Hush,
        *,
        uuid: UUID,
        node: str,
        queue: str,
        limit: int,
        schema: str | None,
        runners: str,
    ) -> None:
        super().__init__(node=node, interval=AUDIT)
        self.uuid = uuid
        self.queue = queue
        self.limit = limit
        self.started_at: datetime | None = None
        self.paused = False
        self.running = Running(executor, acker, self._make_turn)
        self._link = link
        self._acker = acker
        self._sleep = sleep
        self._hush = hush
        self.claims = Claims(link, acker, runners=runners, queue=queue, holder=[node, str(uuid)], schema=schema)
        self._release = release(schema)
        self._front = Front()
        self._herd = Herd()
        self._heard = False
        self._answer: asyncio.TimerHandle | None = None
        self._audited = time.monotonic()
        self._full_since: float | None = None
        self._claiming = asyncio.Lock()
        self._fenced = False
        self._fences = 0

    @property
    def asleep(self) -> bool:
        """Whether the queue has room, so that a lost wake-up would matter."""
        return len(self.running) < self.limit and not self.paused and not self._fenced and not self.stopping

    def look(self) -> None:
        """There may be new work, anywhere in the queue. Safe from any thread."""
        self._front.rewind_soon()
        self.wake()

    def hear(self, *, unrung: bool) -> None:
        """A notice says that there is new work, to this node and to others; or may be, for which nobody rang."""
        if unrung:
            self._sleep.doubt()
        else:
            self._hush.rung()
        if self._answer is not None:  # the look that is to come finds it as well
            return
        if seconds := self._herd.hold_back():
            self._answer = asyncio.get_running_loop().call_later(seconds, self._answer_notice)
        else:
            self._answer_notice()

    def _answer_notice(self) -> None:
        self._answer, self._heard = None, True
        self.look()

    async def tick(self) -> float | None:
        """Claim until nothing is left or every slot is taken."""
        if time.monotonic() - self._audited > AUDIT:
            await self._audit()
        while (demand := self._demand()) > 0 and not self.stopping:
            self._full_since = None
            fences = self._fences
            async with self._claiming:
                claimed = await self._claim(demand)
                if fences != self._fences:  # these may be others' by now; the audit after `unfence` sorts it out
                    return None
                await self._set_running(claimed, fences)
            self._tell_herd(len(claimed))
            if len(claimed) == demand or self.claims.more:
                continue
            if await self._hush.lasts(len(claimed)):
                return EVERY
            if not await self._is_more_expected():
                return self.claims.sooner(self._sleep.pause)
        return await self._wait_for_room()

    async def leave(self) -> None:
        """Be rung no longer, and keep nobody else from it; to be called once it has stopped."""
        await self._hush.end()
        await self._sleep.end()

    def pause(self) -> None:
        """Claim nothing until `resume`; what runs goes on, and what a claim under way brings runs as well."""
        if not self.paused:
            self.paused = True
            telemetry.emit(QueuePaused(node=self.node, queue=self.queue))
            self.wake()  # to drop the key

    def resume(self) -> None:
        """Claim again after a `pause`."""
        if self.paused:
            self.paused = False
            telemetry.emit(QueueResumed(node=self.node, queue=self.queue))
            self.look()

    def scale(self, limit: int, limits: Limits | None = None) -> None:
        """Keep up to `limit` jobs running; where more are running, let them end.

        Args:
            limits: those over all nodes; None: as before.
        """
        if limits is not None and limits != self.claims.limits:
            self.claims.restrict(limits)
            self.look()
        if limit != self.limit:
            self.limit = limit
            telemetry.emit(QueueScaled(node=self.node, queue=self.queue, limit=limit))
            self.look()

    async def claim_ended(self) -> None:
        """Wait until a claim that is under way has come back."""
        async with self._claiming:
            pass

    def fence(self) -> None:
        """Claim nothing and stop what runs: this node may count as dead. What runs on has lost its claim."""
        self._fenced = True
        self._fences += 1
        self.running.abandon()

    def unfence(self) -> None:
        """Claim again, unless paused, once what was stopped has been handed back."""
        self._fenced = False
        self._audited = -math.inf
        self.look()

    async def release(self) -> None:
        """Hand back what is still executing in this producer's name and is not running here."""
        mine = {"producer": str(self.uuid), "keep": self.running.kept_ids + self._acker.pending_ids}
        try:
            ids = await self._hand_back(mine, None)
        except Exception as error:
            if not concerns_a_row(error):
                raise
            ids = await self._hand_back_one_by_one(mine)
        if ids:
            log.warning("handed back %d jobs of queue %r that had not ended here", len(ids), self.queue)
            telemetry.emit(JobsReleased(node=self.node, queue=self.queue, ids=ids))

    async def _hand_back(self, mine: Mapping[str, Any], only: list[int] | None) -> tuple[int, ...]:
        return tuple(row[0] for row in await self._link.execute(self._release, {**mine, "only": only}))

    async def _hand_back_one_by_one(self, mine: Mapping[str, Any]) -> tuple[int, ...]:
        """One of them is locked, or refused by something of the user's: the others, and new jobs, must not wait."""
        ids: tuple[int, ...] = ()
        for row in await self._link.execute(HELD, mine):
            try:
                ids += await self._hand_back(mine, [row.id])
            except Exception as error:
                if not concerns_a_row(error):
                    raise
                log.warning("job %d could not be handed back and is tried again in %.0f s: %s", row.id, AUDIT, error)
                telemetry.emit(JobRefused(node=self.node, id=row.id, error=reason(error), retry_in=AUDIT))
        return ids

    def _demand(self) -> int:
        return 0 if self.paused or self._fenced else min(self.limit - len(self.running), self._acker.room)

    async def _claim(self, demand: int) -> list[Claimed]:
        keys = self._front.keys(time.monotonic())
        try:
            rows = await self.claims.take(demand, keys)
        except BaseException:
            self._audited = -math.inf  # the claim may have taken effect, and nobody runs what it took
            raise
        # Text compares as the moments do within Python's calendar; a foreign row from beyond it may come out of
        # order, and the front may then pass over jobs until it is rewound.
        claimed = sorted(rows, key=in_order)
        self._front.advance(claimed, time.monotonic())
        if claimed:
            telemetry.emit(JobsClaimed(node=self.node, queue=self.queue, count=len(claimed)))
        return claimed

    def _tell_herd(self, found: int) -> None:
        if self._heard:
            self._heard = False
            self._herd.found(found)

    async def _is_more_expected(self) -> bool:
        """After a short claim: whether there may be more, before the front or in commits under way."""
        await self._hush.end()
        if not self._front.at_start:
            self._front.rewind()
            return True
        return await self._sleep.fall()

    async def _set_running(self, claimed: Sequence[Claimed], fences: int) -> None:
        """Those of workflows after the others, which neither wait nor fail for what these may know of the rest."""
        for row in claimed:
            if row.state == JobState.DISCARDED:
                log.warning("discarded job %d of queue %r: it had no attempt left", row.id, self.queue)
        ready = [row for row in claimed if row.state != JobState.DISCARDED]
        self.running.start(row for row in ready if not has_part(row))
        if woven := [row for row in ready if has_part(row)]:
            parts = await self.running.look_up(woven)
            if fences == self._fences:
                self.running.start(woven, parts)

    def _make_turn(self) -> None:
        self._bell.set()

    async def _wait_for_room(self) -> float | None:
        await self._hush.end()  # at once: nobody else is rung meanwhile
        if not self.paused and not self._fenced and self._acker.room <= 0:
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
        self._audited = time.monotonic()  # now: whoever asks for another meanwhile shall get it
        try:
            await self.release()
        except BaseException:
            self._audited = -math.inf
            raise
        self.claims.gather()
