"""Pages that stay up to date: server-sent events with the part of a page that changes.

A stream ends after a minute, and the browser asks for it again: so what a visitor may see is decided anew, and nobody
who has left is written to for long. It ends with the server too, which would wait for it. The questions are
shared among all who look (`shared`).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import StreamingResponse

from sqla_oban.errors import ObanError, reason

log = logging.getLogger(__name__)

LASTS: Final = 60.0
"""Seconds that a stream goes on for."""

AGAIN: Final = 1_000
"""Milliseconds after which a browser asks anew."""


def stream(render: Callable[[], Awaitable[str]], *, every: float, leaving: asyncio.Event) -> StreamingResponse:
    """An answer that sends what `render` returns, every so many seconds, if it has changed; until `leaving` is set."""
    return StreamingResponse(
        _events(render, every, leaving),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},  # a proxy shall pass it on at once
    )


async def _events(
    render: Callable[[], Awaitable[str]], every: float, leaving: asyncio.Event
) -> AsyncGenerator[str, None]:
    loop = asyncio.get_running_loop()
    ends, last = loop.time() + LASTS, ""
    yield f"retry: {AGAIN}\n\n"
    while loop.time() < ends and not leaving.is_set():
        try:
            html = await render()
        except (ObanError, SQLAlchemyError, OSError) as error:
            log.warning("the dashboard could not be brought up to date: %s", reason(error))
            yield event("trouble", reason(error) if isinstance(error, ObanError) else "The database does not answer.")
        else:
            yield event("page", html) if html != last else ": as before\n\n"
            last = html
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leaving.wait(), every)


def event(kind: str, data: str) -> str:
    """An event as it is written; each line of the data by itself, whatever it holds.

    >>> event("page", "a\\nb")
    'event: page\\ndata: a\\ndata: b\\n\\n'
    """
    lines = "".join(f"data: {line}\n" for line in data.replace("\r", "\n").split("\n"))
    return f"event: {kind}\n{lines}\n"
