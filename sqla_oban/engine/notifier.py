"""Hears that there is work; keeps hearing.

Wake-ups are hints: the table is the truth, and whoever is not woken finds out by looking. So everything here may fail,
and the worst that happens is that jobs start a little later.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_oban import telemetry
from sqla_oban.engine.database import Link
from sqla_oban.engine.listeners import Listener, listener
from sqla_oban.engine.notices import decode, encode
from sqla_oban.engine.service import Service
from sqla_oban.errors import reason
from sqla_oban.identifiers import quoted
from sqla_oban.queries.wake import NOTIFY, WRITERS, drop, end_hush, hold, hush
from sqla_oban.settings import NotifierSettings
from sqla_oban.telemetry.events import ListenerDown, ListenerUp

log = logging.getLogger(__name__)

Subscriber = Callable[[dict[str, Any]], None]

POOLED = (
    "a pooler in transaction mode takes LISTEN and delivers nothing; give the runner an address past it, for this one "
    "connection: SqlaOban(..., listen_url=...)"
)


class Echo:
    """One round trip; by its word, a late echo of an earlier one does not count."""

    def __init__(self) -> None:
        self.word = token_hex(8)
        self.heard = asyncio.Event()


class Notifier(Service):
    """One supervised LISTEN on the link that also carries the wake-up locks.

    A round trip through NOTIFY itself proves that notifications arrive: a connection can be dead without an error,
    and a pooler can accept LISTEN and never deliver. Whenever hearing begins anew, `on_hearing` is called, because
    what was said in between is lost.

    Behind a pooler hearing oneself proves nothing: the statement may have run in the very session that took the
    LISTEN. Another connection must be heard while nothing is asked on this one, when a pooler in transaction mode has
    lent it no session, and so nothing to hear by. Until that is proven it listens to nothing but its own echo: a
    session that is handed on would bring others our notifications.

    Args:
        link: the connection; LISTEN is repeated whenever it is opened anew.
        home: the schema of the tables, which the channels' names begin with.
    """

    def __init__(self, link: Link, *, node: str, home: str, settings: NotifierSettings) -> None:
        super().__init__(node=node, interval=settings.health_interval)
        self.hearing = False
        self.generation = 0
        self.on_hearing: Callable[[], None] = lambda: None
        self._link = link
        self._mouth = link.another("echo")  # open only behind a pooler, and only to say something
        self._home = home
        self._hold, self._drop = hold(home), drop(home)
        self._hush, self._end_hush = hush(home), end_hush(home)
        self._jobs_table = f"{quoted(home)}.oban_jobs"
        self._timeout = settings.timeout
        self._echo_channel = f"sqla_oban_{token_hex(8)}"
        self._subscribers: dict[str, Subscriber] = {}
        self._listener: Listener | None = None
        self._echo = Echo()
        self._has_warned = False
        link.on_open, link.on_idle, link.on_close = self._listen, self._resume, self._forget

    def subscribe(self, channel: str, subscriber: Subscriber) -> None:
        """Call `subscriber`, on the notifier's thread, with each notice on one of Oban's channels."""
        self._subscribers[f"{self._home}.oban_{channel}"] = subscriber

    async def notify(self, channel: str, notice: dict[str, Any]) -> None:
        """Send `notice` to one of Oban's channels."""
        await self._link.execute(NOTIFY, {"channel": f"{self._home}.oban_{channel}", "payload": encode(notice)})

    async def stop(self) -> None:
        """Stop; that the connection closes afterwards is no news."""
        await super().stop()
        self.hearing = False

    async def tick(self) -> None:
        """Prove that notifications arrive."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._link.execute(select(1))  # opens it, if need be
                trouble = await (self._hear_another() if self._link.pooled else self._hear_itself())
        except Exception as error:
            self._deaf(f"{type(error).__name__}: {error}" if str(error) else "a notification to ourselves got lost")
            await self._link.drop()
            raise
        if trouble is not None:
            self._settle_for_polling(trouble)
        elif not self.hearing:
            self.hearing, self._has_warned = True, False
            telemetry.emit(ListenerUp(node=self.node))
            self.on_hearing()

    async def _hear_itself(self) -> None:
        self._echo = Echo()
        await self._link.execute(NOTIFY, {"channel": self._echo_channel, "payload": self._echo.word})
        await self._echo.heard.wait()

    async def _hear_another(self) -> str | None:
        """Returns what is in the way. The link itself is well, and is not dropped for it."""
        try:
            await self._mouth.execute(select(1))
            async with self._link.quiet():
                self._echo = Echo()
                await self._mouth.execute(NOTIFY, {"channel": self._echo_channel, "payload": self._echo.word})
                await self._echo.heard.wait()
                if not self.hearing and self._listener is not None:
                    await self._listener.listen(self._channels)
        except TimeoutError:
            return POOLED
        except (DBAPIError, OSError) as error:
            return reason(error)
        finally:
            await self._mouth.close()
        return None

    async def rest(self, queue: str) -> tuple[int, list[str]]:
        """Be rung for `queue` from now on.

        Returns the generation of the connection that holds the key, which is lost with it; and the transactions that
        may not have seen it (see `queries.wake`).
        """
        await self._link.execute(self._hold, {"queue": queue})
        return self.generation, await self.writers(None)

    async def writers(self, among: Sequence[str] | None) -> list[str]:
        """The transactions that are writing jobs; of those `among`, if given."""
        return [row[0] for row in await self._link.execute(WRITERS, {"table": self._jobs_table, "among": among})]

    async def leave(self, queue: str) -> None:
        """Be rung for `queue` no longer."""
        await self._link.execute(self._drop, {"queue": queue})

    async def hush(self, queue: str) -> int | None:
        """Have nobody rung for `queue` from now on.

        Returns the generation of the connection that holds the key; None where another node hushes, notifications do
        not arrive, or a pooler may lend the session to others.
        """
        if not self.hearing or self._link.pooled:
            return None
        taken = (await self._link.execute(self._hush, {"queue": queue}))[0][0]
        return self.generation if taken else None

    async def end_hush(self, queue: str, generation: int) -> None:
        """Have those rung again who sleep, and have them look for what they were not rung for."""
        try:
            if generation == self.generation:  # else the key went with its connection
                await self._link.execute(self._end_hush, {"queue": queue})
            await self.notify("insert", {"queue": queue, "unrung": True})
        except BaseException:
            await self._link.drop()  # a key that could not be given back would keep the queue silent
            raise

    async def _listen(self, connection: AsyncConnection) -> None:
        self._deaf("the connection was replaced")  # what was said in between is lost
        self.generation += 1
        self.wake()
        self._listener = await listener(connection, self._heard, self._lost)
        await self._listener.listen([self._echo_channel] if self._link.pooled else self._channels)

    @property
    def _channels(self) -> list[str]:
        return [*self._subscribers, self._echo_channel]

    def _resume(self) -> None:
        if self._listener is not None:
            self._listener.resume()

    def _forget(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _heard(self, channel: str, payload: str) -> None:
        if channel == self._echo_channel:
            if payload == self._echo.word:
                self._echo.heard.set()
            return
        notice, subscriber = decode(payload), self._subscribers.get(channel)
        if notice is None or subscriber is None:
            log.debug("ignored a notification on %s that is not Oban's", channel)
            return
        try:
            subscriber(notice)
        except Exception:
            log.exception("a notification on %s could not be handled", channel)

    def _lost(self) -> None:
        self._deaf("the connection was closed")
        self.wake()

    def _settle_for_polling(self, trouble: str) -> None:
        """Nothing is wrong with the connection, so it is kept, and tried again now and then."""
        if self.hearing or not self._has_warned:
            self._has_warned = True
            self._tell_deaf(trouble)

    def _deaf(self, why: str) -> None:
        if self.hearing:
            self._tell_deaf(why)

    def _tell_deaf(self, why: str) -> None:
        self.hearing = False
        log.warning("notifications do not arrive, jobs are found by polling until they do: %s", why)
        telemetry.emit(ListenerDown(node=self.node, reason=why))
