"""The dashboard as a browser sees it: by HTTP within the process, or from a server on a port."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from sqla_oban import SqlaOban
from sqla_oban.web import dashboard
from tests.examples.server import free_port
from tests.support import eventually

TRACE = """'[{"at": "2026-01-01T10:00:00.000000Z", "attempt": 1,
 "error": "ConnectionError: the bank does not answer\\nTraceback (most recent call last):\\n  bank.py, line 7"}]'"""


def everything(*_: Any) -> bool:
    return True


@dataclass
class Visitor:
    """Somebody with a browser: keeps cookies, and sends forms with the token of the page."""

    http: httpx.AsyncClient
    prefix: str = ""
    token: str = field(default="")

    async def get(self, path: str, status: int = 200) -> str:
        answer = await self.http.get(self.prefix + path)
        assert answer.status_code == status, answer.text
        found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
        self.token = found[1] if found else self.http.cookies.get("sqla_oban_csrf") or self.token
        return answer.text

    async def post(self, path: str, status: int = 303, headers: dict[str, str] | None = None, **fields: Any) -> str:
        """Send a form; returns what the next page says."""
        if not self.token:
            await self.get("/")
        answer = await self.http.post(self.prefix + path, data={"csrf": self.token, **fields}, headers=headers or {})
        assert answer.status_code == status, answer.text
        if status != 303:
            return answer.text
        page = await self.http.get(answer.headers["location"])
        said = re.search(r'<p class="said[^>]*>(.*?)</p>', page.text)
        return said[1] if said else ""


@pytest.fixture
def visit(engine: AsyncEngine) -> Any:
    """Somebody who visits a dashboard: `visit(authorize=everything)`; of an `app`, under a `prefix`."""

    def visitor(app: ASGIApp | None = None, prefix: str = "", **options: Any) -> Visitor:
        app = app or dashboard(SqlaOban(engine), **{"timeout": 20, **options})
        return Visitor(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test"), prefix)

    return visitor


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[ASGIApp], Any]]:
    """Serves applications, each on a port of its own, until the test ends: `url = await serve(app)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def served(app: ASGIApp) -> str:
            port = free_port()
            server = uvicorn.Server(
                uvicorn.Config(app, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
            )
            server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
            task = asyncio.create_task(server.serve())

            async def stop() -> None:
                server.should_exit = True
                await task

            stack.push_async_callback(stop)
            await eventually(lambda: server.started or task.done(), "the server")
            return f"http://127.0.0.1:{port}"

        yield served
