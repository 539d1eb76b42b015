"""Whether a notification from one connection arrives at another."""

import asyncio
from secrets import token_hex

from sqlalchemy import URL, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sqla_oban.doctor.finding import Finding, ok, problem
from sqla_oban.engine.database import Link
from sqla_oban.engine.direct import check_direct
from sqla_oban.engine.listeners import Listener, listener
from sqla_oban.errors import ConfigurationError, reason
from sqla_oban.queries.wake import NOTIFY

SUBJECT = "notifications"
PATIENCE = 5.0
"""Seconds that one may take."""

REMEDY = (
    "a pooler in transaction mode swallows them: give the runner an address past it as listen_url; until then jobs are "
    "found by looking for them several times a second"
)


class Ear:
    """A connection that listens to one channel, as a runner's does."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.channel = f"sqla_oban_check_{token_hex(8)}"
        self.heard = asyncio.Event()
        self._listener: Listener | None = None
        self._link = Link(engine, purpose="check", schema=None, timeout=PATIENCE)
        self._link.on_open, self._link.on_idle, self._link.on_close = self._listen, self._resume, self._forget

    async def open(self) -> None:
        """Begin to listen."""
        await self._link.execute(select(1))

    async def close(self) -> None:
        """Listen no more."""
        await self._link.close()

    async def _listen(self, connection: AsyncConnection) -> None:
        self._listener = await listener(connection, lambda *_: self.heard.set(), lambda: None)
        await self._listener.listen([self.channel])

    def _resume(self) -> None:
        if self._listener is not None:
            self._listener.resume()

    def _forget(self) -> None:
        if self._listener is not None:
            self._listener.close()


async def notifications(engine: AsyncEngine, listen_url: URL | None = None) -> Finding:
    """Listen on one connection, by `listen_url` where there is one, and notify on another.

    A pooler may well deliver what a connection says to itself, while it still holds the server's.
    """
    ear = Ear(engine if listen_url is None else create_async_engine(listen_url))
    mouth = Link(engine, purpose="check", schema=None, timeout=PATIENCE)
    try:
        if listen_url is not None:
            await check_direct(listen_url, engine)
        await ear.open()
        await mouth.execute(NOTIFY, {"channel": ear.channel, "payload": ""})
        async with asyncio.timeout(PATIENCE):
            await ear.heard.wait()
    except ConfigurationError as error:
        return problem(SUBJECT, str(error))
    except TimeoutError:
        remedy = REMEDY if listen_url is None else "see that listen_url leads past every pooler"
        return problem(SUBJECT, f"a notification did not arrive within {PATIENCE:.0f} seconds", remedy)
    except Exception as error:
        return problem(SUBJECT, f"a notification could not be sent: {reason(error)}")
    else:
        return ok(SUBJECT, "a notification from another connection arrives")
    finally:
        await ear.close()
        await mouth.close()
