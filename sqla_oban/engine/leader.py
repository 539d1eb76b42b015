"""Elects one node for the upkeep, by a lease with a time to live on one row of `oban_peers`.

Why there are never two leaders that both believe it:

1. The row is taken or renewed by one INSERT ... ON CONFLICT DO UPDATE (`queries.lease`). The conflict locks the row,
   so candidates are served one after the other, and each compares `expires_at` with PostgreSQL's clock at its turn.
   Nobody's own clock is compared with anybody else's.
2. A lease that is granted at the moment g (PostgreSQL's clock) lasts until g + ttl, and no other node is granted one
   before that, unless the holder gives it back.
3. The holder noted its own monotonic clock at s, before it sent the statement: s is earlier than g. It trusts the
   lease until s + ttl - margin, so it stops to believe before g + ttl, by at least `margin`, as long as its monotonic
   clock and PostgreSQL's run at the same rate to within margin / ttl (a tenth by default; real clocks differ by less
   than a thousandth). How long the statement was on its way only shortens the trust.
4. A process that was stopped, or whose machine was suspended, asks its clock again before it acts; the clock runs on
   meanwhile (`engine/clock.py`).

Between (3) and the end of an action lies the action itself: a leader can lose its lease in the middle of one. So
the upkeep is written to be safe under two leaders: it locks rows and passes over locked ones.

A lease belongs to a `term`, the moment it began. Only the holder knows its term, so a second process that was given
the same node name by mistake is a stranger to it. A term also dies with the row: `oban_peers` is UNLOGGED, a crash of
PostgreSQL empties it, and the next grant begins a new term.
"""

from collections.abc import Callable

from sqla_oban import telemetry
from sqla_oban.engine.clock import now
from sqla_oban.engine.database import Link
from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.service import Service
from sqla_oban.queries.lease import ELECT, REMAINING, RESIGN
from sqla_oban.settings import LeaderSettings
from sqla_oban.telemetry.events import LeadershipGained, LeadershipLost

MOMENT = 0.02
"""Seconds after another's lease ran out at which a follower asks: it must really have run out by then."""


class Leader(Service):
    """Holds the lease of `name`, or waits for it.

    Args:
        on_gained: called, on the leader's thread, when this node begins to lead.
    """

    def __init__(
        self,
        link: Link,
        notifier: Notifier,
        *,
        name: str,
        node: str,
        settings: LeaderSettings,
        on_gained: Callable[[], None],
    ) -> None:
        super().__init__(node=node, interval=settings.renewal)
        self._link = link
        self._notifier = notifier
        self._name = name
        self._settings = settings
        self._on_gained = on_gained
        self._term: str | None = None
        self._trusted_until = 0.0
        notifier.subscribe("leader", lambda _: self.wake())

    @property
    def is_leader(self) -> bool:
        """Whether this node leads at this moment."""
        return self._term is not None and now() < self._trusted_until

    async def tick(self) -> float | None:
        """Renew the lease, or try to take it as soon as it may be free."""
        if self._term is not None and not self.is_leader:
            self._lose()
        sent = now()
        ask = {"name": self._name, "node": self.node, "term": self._term, "ttl": self._settings.ttl}
        granted = await self._link.execute(ELECT, ask)
        if not granted:
            self._lose()
            return await self._until_free()
        self._trusted_until = sent + self._settings.ttl - self._settings.margin
        if self._term != granted[0][0]:
            self._term = granted[0][0]
            telemetry.emit(LeadershipGained(node=self.node))
            self._on_gained()
        return None

    async def stop(self) -> None:
        """Give the lease back and say so, so that another node leads at once."""
        await super().stop()
        if self._term is None:
            return
        term, self._term = self._term, None
        telemetry.emit(LeadershipLost(node=self.node))
        await self._link.execute(RESIGN, {"name": self._name, "node": self.node, "term": term})
        await self._notifier.notify("leader", {"down": self.node, "name": self._name})

    async def _until_free(self) -> float:
        rows = await self._link.execute(REMAINING, {"name": self._name})
        left: float = rows[0][0] if rows else 0.0
        return min(max(left, 0.0) + MOMENT, self._settings.ttl)

    def _lose(self) -> None:
        if self._term is not None:
            self._term = None
            telemetry.emit(LeadershipLost(node=self.node))
