"""Writes outcomes, many in one statement, and keeps each until it is written."""

import logging

from sqla_oban import telemetry
from sqla_oban.engine.database import Link, is_bad_data
from sqla_oban.engine.service import Service
from sqla_oban.payload import storable_text
from sqla_oban.queries.ack import ACK, Ack, parameters
from sqla_oban.settings import AckerSettings
from sqla_oban.states import JobState
from sqla_oban.telemetry.events import AckReplaced, AcksDelayed, AcksWritten

log = logging.getLogger(__name__)


class Acker(Service):
    """Collects outcomes while a statement is under way, and writes them with the next.

    An outcome leaves `_pending` only when a statement that carries it has succeeded. While the database refuses, all
    are kept and tried again; past `backlog` the producers claim no more. If the answer to a statement got lost, it is
    sent again: rows that it had written already no longer match and stay as they are.
    """

    def __init__(self, link: Link, *, node: str, settings: AckerSettings) -> None:
        super().__init__(node=node, interval=None)
        self._link = link
        self._settings = settings
        self._pending: list[Ack] = []

    @property
    def room(self) -> int:
        """How many more outcomes may wait."""
        return self._settings.backlog - len(self._pending)

    @property
    def pending_ids(self) -> list[int]:
        """The jobs that have ended here and are not written yet."""
        return [ack.id for ack in self._pending]

    def add(self, ack: Ack) -> None:
        """Have an outcome written soon."""
        self._pending.append(ack)
        self._bell.set()

    async def stop(self) -> None:
        """Write what is left; what the database refuses now is lost, and its jobs run again elsewhere."""
        await super().stop()
        try:
            await self.tick()
        except Exception as error:
            log.error("%d outcomes could not be written before the end: %s", len(self._pending), error)

    async def tick(self) -> None:
        """Write what is pending."""
        while self._pending:
            batch = self._pending[: self._settings.batch]
            try:
                refused = await self._write_all(batch)
            except Exception as error:
                telemetry.emit(AcksDelayed(node=self.node, pending=len(self._pending), error=str(error)))
                raise
            self._pending[: len(batch)] = refused
            if refused:
                raise RuntimeError(f"{len(refused)} outcomes cannot be stored, nor the reason why; see the log")

    async def _write_all(self, batch: list[Ack]) -> list[Ack]:
        """Write `batch` at once or, if one in it cannot be stored, each alone, so that it harms no other."""
        try:
            await self._write(batch)
        except Exception as error:
            if not is_bad_data(error):
                raise
            return [ack for ack in batch if not await self._is_written_alone(ack)]
        return []

    async def _write(self, batch: list[Ack]) -> None:
        rows = await self._link.execute(ACK, parameters(batch))
        written = {row[0] for row in rows}
        late = tuple(ack.id for ack in batch if ack.id not in written)
        if late:
            log.info("%d outcomes came late and changed nothing: the jobs were no longer ours", len(late))
        telemetry.emit(AcksWritten(node=self.node, written=len(written), late=late))

    async def _is_written_alone(self, ack: Ack) -> bool:
        try:
            await self._write([ack])
        except Exception as error:
            if not is_bad_data(error):
                raise
            return await self._is_replaced(ack, error)
        return True

    async def _is_replaced(self, ack: Ack, cause: Exception) -> bool:
        """The job has ended and must not run again: discard it, with the reason why its outcome is missing."""
        reason = storable_text(f"the outcome ({ack.state}) could not be stored: {cause}"[:1_000])
        log.error("job %d: %s", ack.id, reason)
        try:
            await self._write([Ack(ack.id, ack.attempted_at, JobState.DISCARDED, error=reason)])
        except Exception as error:
            if not is_bad_data(error):
                raise
            return False
        telemetry.emit(AckReplaced(node=self.node, id=ack.id, error=reason))
        return True
