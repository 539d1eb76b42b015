"""Runners as processes, that can be killed."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.shop import make_runs
from tests.support import PATIENCE


@dataclass
class NodeProcess:
    """A runner in a process of its own."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def said(self) -> str:
        """The next line it prints; empty when it has ended."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode().strip()

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@pytest.fixture
async def spawn(engine: AsyncEngine) -> AsyncIterator[Any]:
    """Starts a runner in a process of its own: `await spawn(queues={"default": 5})`; `fast=False` for the defaults."""
    await make_runs(engine)
    nodes: list[NodeProcess] = []
    url = engine.url.render_as_string(hide_password=False)

    async def spawn_one(*, fast: bool = True, **options: Any) -> NodeProcess:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.node", url, json.dumps({"fast": fast, **options})),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        nodes.append(NodeProcess(process))
        assert await nodes[-1].said() == "ready"
        return nodes[-1]

    yield spawn_one
    for node in nodes:
        with contextlib.suppress(ProcessLookupError):
            await node.kill()
