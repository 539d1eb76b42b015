"""Writes outcomes, many in one statement, and keeps each until it is written."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.failures import concerns_a_row, is_bad_data
from sqla_oban.engine.service import Service
from sqla_oban.payload import storable_text
from sqla_oban.queries.ack import ACK, COMPLETE, STILL_EXECUTING, Ack, parameters
from sqla_oban.settings import AckerSettings
from sqla_oban.states import JobState
from sqla_oban.telemetry.events import AckReplaced, AcksDelayed, AcksWritten

log = logging.getLogger(__name__)


RETRY = 0.5
"""Seconds until outcomes that a row's lock or a trigger kept from being written are tried again."""
LAST_WORDS = 5.0
"""Seconds that the last outcomes have to be written when the node stops."""


class Acker(Service):
    """Collects outcomes while a statement is under way, and writes them with the next.

    An outcome is in `_pending`, `_refused` or `_lent` until a statement that carries it has succeeded. The first
    `_tried` of `_pending` are being written, or could not be: these are not lent. While the database refuses, all are
    kept and tried again; past `backlog` the producers claim no more. If the answer to a statement got lost, it is sent
    again: rows that it had written already no longer match and stay as they are.

    Args:
        on_put_off: called, once that is written, with the least number of seconds after which a job is to run again.
    """

    def __init__(
        self, link: Link, *, node: str, settings: AckerSettings, on_put_off: Callable[[float], None] = lambda _: None
    ) -> None:
        super().__init__(node=node, interval=None)
        self._link = link
        self._settings = settings
        self._on_put_off = on_put_off
        self._pending: list[Ack] = []
        self._refused: list[Ack] = []
        self._lent: list[Ack] = []
        self._tried = 0
        self._retry_at = 0.0

    @property
    def room(self) -> int:
        """How many more outcomes may wait."""
        return self._settings.backlog - len(self._pending) - len(self._refused) - len(self._lent)

    @property
    def pending_ids(self) -> list[int]:
        """The jobs that have ended here and are not written yet."""
        return [ack.id for ack in (*self._pending, *self._refused, *self._lent)]

    def add(self, ack: Ack) -> None:
        """Have an outcome written soon: in the next turn of the event loop, so that a claim of this one may take it."""
        self._pending.append(ack)
        if len(self._pending) == 1:
            asyncio.get_running_loop().call_soon(self._bell.set)

    def lend(self) -> list[Ack]:
        """Outcomes for a claim to write, until it calls `take_back`: those of which no more is to be said."""
        lent = [ack for ack in self._pending[self._tried :] if ack.just_completes][: self._settings.batch]
        taken = set(lent)
        self._pending = [ack for ack in self._pending if ack not in taken]
        self._lent += lent
        return lent

    def take_back(self, lent: Collection[Ack], written: Collection[int]) -> None:
        """The claim is over, and has written those of these ids; the others are written here."""
        back = set(lent)
        self._lent = [ack for ack in self._lent if ack not in back]
        if left := [ack for ack in lent if ack.id not in written]:
            self._pending[self._tried : self._tried] = left
            self._tried += len(left)
            self._bell.set()
        if written:
            telemetry.emit(AcksWritten(node=self.node, written=len(written), late=()))

    async def stop(self) -> None:
        """Write what is left; what the database refuses even now is lost, and its jobs run again elsewhere."""
        await super().stop()
        ends = time.monotonic() + LAST_WORDS
        while self.pending_ids and time.monotonic() < ends:
            try:
                self._retry_at = 0.0
                await self.tick()
            except Exception as error:
                log.warning("the last outcomes could not be written yet: %s", error)
            if self.pending_ids:
                await asyncio.sleep(RETRY / 2)
        if self.pending_ids:
            log.error("%d outcomes could not be written before the end", len(self.pending_ids))

    async def tick(self) -> float | None:
        """Write what is pending."""
        if time.monotonic() >= self._retry_at:
            self._pending[:0] = self._refused
            self._tried += len(self._refused)
            self._refused = []
        while self._pending:
            batch = self._pending[: self._settings.batch]
            self._tried = max(self._tried, len(batch))
            try:
                refused = await self._write_all(batch)
            except Exception as error:
                telemetry.emit(AcksDelayed(node=self.node, pending=len(self.pending_ids), error=str(error)))
                raise
            if refused:
                self._refused += refused
                self._retry_at = time.monotonic() + RETRY
                telemetry.emit(
                    AcksDelayed(node=self.node, pending=len(refused), error="a lock or a trigger on the row")
                )
            del self._pending[: len(batch)]
            self._tried -= len(batch)
        return RETRY if self._refused else None

    async def _write_all(self, batch: list[Ack]) -> list[Ack]:
        """Write `batch` at once or, if one in it cannot be stored, each alone; returns those not written yet."""
        try:
            return await self._write(batch)
        except Exception as error:
            if not concerns_a_row(error):
                raise
        return [ack for one in batch for ack in await self._write_alone(one)]

    async def _write_alone(self, ack: Ack) -> list[Ack]:
        try:
            return await self._write([ack])
        except Exception as error:
            if is_bad_data(error):
                return await self._replace(ack, error)
            if concerns_a_row(error):
                return [ack]
            raise

    async def _replace(self, ack: Ack, cause: Exception) -> list[Ack]:
        """The job has ended and must not run again: discard it, with the reason why its outcome is missing."""
        reason = storable_text(f"the outcome ({ack.state}) could not be stored: {cause}"[:1_000])
        log.error("job %d: %s", ack.id, reason)
        try:
            await self._write([Ack(ack.id, ack.attempted_at, JobState.DISCARDED, error=reason)])
        except Exception as error:
            if not concerns_a_row(error):
                raise
            return [ack]
        telemetry.emit(AckReplaced(node=self.node, id=ack.id, error=reason))
        return []

    async def _write(self, batch: list[Ack]) -> list[Ack]:
        """Write `batch` in one statement; returns those whose rows were locked."""
        arrays = parameters(batch)
        statement = COMPLETE if all(ack.just_completes for ack in batch) else ACK
        written = [row[0] for row in await self._link.fetch(statement, arrays)]
        if statement is COMPLETE and len(written) < len(batch):
            written += [row[0] for row in await self._link.fetch(ACK, arrays)]
        locked: set[int] = set()
        late: tuple[int, ...] = ()
        if len(written) < len(batch):
            locked = {row[0] for row in await self._link.fetch(STILL_EXECUTING, arrays)}
            missing = Counter(ack.id for ack in batch)  # twice, where a job was claimed again while it still ran here
            missing.subtract(written)
            late = tuple(job_id for job_id in missing.elements() if job_id not in locked)
        if late:
            log.info("%d outcomes came late and changed nothing: the jobs were no longer ours", len(late))
        telemetry.emit(AcksWritten(node=self.node, written=len(written), late=late))
        if arrays["delays"]:
            self._on_put_off(min(delay for delay in arrays["delays"] if delay is not None))
        return [ack for ack in batch if ack.id in locked]
