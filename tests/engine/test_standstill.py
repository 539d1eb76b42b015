"""A process that stood still finds what PostgreSQL answered meanwhile."""

import asyncio
import time

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.engine import database
from sqla_oban.engine.database import Link, _within
from tests.support import PATIENCE

TIMEOUT = 0.1


async def test_a_loop_that_was_blocked_for_longer_than_a_timeout_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a job, or with its whole process; to open a connection takes several answers."""
    monkeypatch.setattr(database, "UNREAD", PATIENCE / TIMEOUT)

    async def work() -> str:
        time.sleep(3 * TIMEOUT)  # noqa: ASYNC251 (the fault that is tested)
        for _ in range(20):
            await asyncio.sleep(0)
        return "answered"

    assert await _within(TIMEOUT, work()) == "answered"


async def test_who_waits_for_a_connection_meanwhile_goes_on_waiting(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "UNREAD", PATIENCE / TIMEOUT)
    link = Link(engine, purpose="test", schema=None, timeout=TIMEOUT)
    await link._lock.acquire()
    waiting = asyncio.create_task(link._acquire())
    await asyncio.sleep(0)
    time.sleep(3 * TIMEOUT)  # noqa: ASYNC251 (the fault that is tested)
    for _ in range(20):
        await asyncio.sleep(0)
    link._lock.release()
    await waiting


async def test_who_does_not_stand_still_waits_no_longer(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "STANDSTILL", PATIENCE)
    monkeypatch.setattr(database, "UNREAD", PATIENCE / TIMEOUT)
    link = Link(engine, purpose="test", schema=None, timeout=TIMEOUT)
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.1 s"):
        await link.execute(text("SELECT pg_sleep(600)"))
    await link.close()
