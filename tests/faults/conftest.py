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
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.shop import make_runs
from tests.support import PATIENCE

STARTING = 240.0
"""Seconds after which a process that says nothing has not started: on a busy machine they take their time."""


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
        return (await asyncio.wait_for(self.process.stdout.readline(), STARTING)).decode().strip()

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@pytest.fixture
async def spawn(engine: AsyncEngine) -> AsyncIterator[Any]:
    """Starts a runner in a process of its own: `await spawn(queues={"default": 5})`.

    With `fast=False` it has the defaults, and with `mortal=True` it soon counts as dead once it is.
    """
    await make_runs(engine)
    nodes: list[NodeProcess] = []
    url = engine.url.render_as_string(hide_password=False)

    async def spawn_one(*, fast: bool = True, mortal: bool = False, **options: Any) -> NodeProcess:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.node", url, json.dumps({"fast": fast, "mortal": mortal, **options})),
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


REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.meta ? 'refused' AND NEW.state = 'completed' AND EXISTS (SELECT FROM refusals) THEN
        RAISE EXCEPTION 'refused by a test' USING ERRCODE = (SELECT code FROM refusals);
      END IF;
      RETURN NEW;
    END $$
"""


@pytest.fixture
async def refusals(engine: AsyncEngine) -> AsyncIterator[Any]:
    """Has a trigger refuse the completion of jobs whose meta says `refused`, with a SQLSTATE, until told otherwise."""
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE refusals (code text)"))
        await connection.execute(text(REFUSE))
        await connection.execute(
            text("CREATE TRIGGER refuse BEFORE UPDATE ON oban_jobs FOR EACH ROW EXECUTE FUNCTION refuse()")
        )

    async def refuse_with(code: str | None) -> None:
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM refusals"))
            if code is not None:
                await connection.execute(text("INSERT INTO refusals VALUES (:code)"), {"code": code})

    yield refuse_with
    async with engine.begin() as connection:
        await connection.execute(text("DROP TRIGGER refuse ON oban_jobs"))
        await connection.execute(text("DROP FUNCTION refuse"))
        await connection.execute(text("DROP TABLE refusals"))
