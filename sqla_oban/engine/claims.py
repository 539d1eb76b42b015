"""How a producer asks for jobs: by the plain claim, or by the one that keeps within the limits of its queue."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqla_oban.engine.acker import Acker
from sqla_oban.engine.database import Link
from sqla_oban.engine.failures import concerns_a_row
from sqla_oban.engine.limits import UNLIMITED, Limits
from sqla_oban.queries.ack import Ack, executions
from sqla_oban.queries.claim import CLAIM, Claimed, Key, behind
from sqla_oban.queries.limits import SORTED_AT_ONCE, claim_within, sort

WIDTH = len(Claimed._fields)
SOONEST = 0.001
"""Seconds until the next look for a rate that has room in an instant."""
KEEP = 0.1
"""Seconds for which the slots of a global limit may stay with one node while short jobs end in them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a round of the partitions has come to: each is offered what is free before any is offered it again.

    Args:
        lane: the partition that was looked at last.
        origin: where the round began, and ends.
        wrapped: whether it has gone on at the first one.
    """

    lane: str = ""
    origin: str = ""
    wrapped: bool = False


class Claims:
    """The claims of one producer.

    Under a global limit a claim finds room where a job has ended. Two commits, a notice, and a race of all nodes for
    the slot, would take longer than a short job. So a claim takes outcomes of this node with it, and the slots stay
    here; for `KEEP` only, because nothing says that this is the node that should have them. After that the outcomes
    are written by the acker alone, and whoever is rung may claim.

    Attributes:
        limits: those of the queue.
        more: whether the last claim came back short only because there was too much to look at.
        room_in: seconds from the last claim until a rate that was used up has room again; None if none was.
    """

    def __init__(
        self, link: Link, acker: Acker, *, runners: str, queue: str, holder: list[str], schema: str | None
    ) -> None:
        self.limits = UNLIMITED
        self.more = False
        self.room_in: float | None = None
        self._link = link
        self._acker = acker
        self._kept_until = -math.inf
        self._common = {"of_queue": queue, "holder": holder}
        self._runners = runners
        self._within = claim_within(schema)
        self._sort = sort(schema)
        self._gathered = False
        self._turn = Turn()

    def restrict(self, limits: Limits) -> None:
        """Keep within `limits` from the next claim on."""
        self.limits = limits
        self.gather()

    def gather(self) -> None:
        """Before the next plain claim, look for jobs that have a partition, which no plain claim finds.

        They got it while the queue had limits, perhaps from a node that has another setting.
        """
        self._gathered = False

    async def take(self, demand: int, keys: Sequence[Key]) -> list[Claimed]:
        """Up to `demand` jobs, behind `keys`.

        Raises:
            whatever the claim raises; whether it took effect is unknown then.
        """
        asked = {**self._common, "demand": demand, **behind(*keys)}
        if self.limits:
            return await self._take_within(asked)
        if not self._gathered:
            await self._gather()
        self.more, self.room_in = False, None
        return [Claimed._make(row) for row in await self._link.fetch(CLAIM, asked)]

    def sooner(self, pause: float | None) -> float | None:
        """`pause`, or less if a rate has room before it is over."""
        if self.room_in is None:
            return pause
        room_in = max(self.room_in, SOONEST)
        return room_in if pause is None else min(pause, room_in)

    async def _take_within(self, asked: Mapping[str, Any]) -> list[Claimed]:
        ended = self._outcomes()
        try:
            return await self._claim_and_complete(asked, ended)
        except Exception as error:
            if not ended or not concerns_a_row(error):
                raise
        return await self._claim_and_complete(asked, [])  # one of them was refused, which is for the acker to sort out

    def _outcomes(self) -> list[Ack]:
        """Those that the next claim takes with it."""
        keeps = self.limits.most is not None and time.monotonic() < self._kept_until
        return self._acker.lend() if keeps else []

    async def _claim_and_complete(self, asked: Mapping[str, Any], ended: list[Ack]) -> list[Claimed]:
        turn = self._turn
        where = {"lane_from": turn.lane, "lane_origin": turn.origin, "has_wrapped": turn.wrapped}
        said = {**asked, **self.limits.parameters(), **where, "of_runners": self._runners, **executions(ended)}
        written: list[int] = []
        try:
            *rows, verdict = await self._link.fetch(self._within, said)
            lane, wrapped, self.more, self.room_in, completed = verdict[WIDTH:]
            written = completed or []
        finally:
            self._acker.take_back(ended, written)
            if len(written) < len(ended):
                self._kept_until = -math.inf
        if rows and not ended:
            self._kept_until = time.monotonic() + KEEP
        self._turn = Turn(lane, turn.origin, wrapped) if self.more else Turn(lane, lane)
        return [Claimed._make(row[:WIDTH]) for row in rows]

    async def _gather(self) -> None:
        one_go = {"of_queue": self._common["of_queue"], "spec": None, "most": SORTED_AT_ONCE}
        while (await self._link.fetch(self._sort, one_go))[0][0] >= SORTED_AT_ONCE:
            pass
        self._gathered = True
