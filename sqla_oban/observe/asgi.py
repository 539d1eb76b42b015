"""Endpoints as an ASGI application, to be mounted in any other."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sqla_oban.observe.answer import FAILED, NOT_ALLOWED, NOWHERE, Answer, Endpoints

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


def asgi(endpoints: Endpoints) -> Application:
    """An application that answers GET and HEAD at the paths of `endpoints`, below wherever it is mounted.

    >>> app.mount("/health", asgi(health.endpoints))  # doctest: +SKIP
    """

    async def application(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served here, not {scope['type']}")
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        answer = answered(endpoints, str(scope["method"]), path)
        headers = [(b"content-type", answer.kind.encode()), (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    return application


def answered(endpoints: Endpoints, method: str, path: str) -> Answer:
    """What is answered to a request; never raises."""
    if method not in ("GET", "HEAD"):
        return NOT_ALLOWED
    endpoint = endpoints.get(path.rstrip("/") or "/")
    try:
        return NOWHERE if endpoint is None else endpoint()
    except Exception:
        log.exception("what is served at %s failed", path)
        return FAILED


async def _live(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    """There is nothing to start or to stop."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
