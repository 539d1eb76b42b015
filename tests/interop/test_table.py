"""One table for both: ours made it, and oban.py's own installer added what it wants besides."""

from typing import Any

import pytest
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.cli.command import run
from tests.interop.conftest import dsn
from tests.interop.node import ObanPy


def test_the_installer_of_oban_py_leaves_our_tables_as_they_should_be(database_url: URL) -> None:
    done = run("check", "--url", dsn(database_url))
    assert done.returncode == 0, done.stdout + done.stderr


async def test_oban_py_runs_no_queue_without_its_own_table(engine: AsyncEngine, peer: ObanPy) -> None:
    """Therefore `oban install` is to be run on tables that we made; a client of oban.py needs nothing."""
    await execute(engine, "ALTER TABLE oban_leaders RENAME TO away")
    try:
        with pytest.raises(RuntimeError, match="'oban_leaders' is missing"):
            await peer.start(queues={"default": 1})
        await peer.start()
        assert len(await peer.enqueue({})) == 1
    finally:
        await execute(engine, "ALTER TABLE away RENAME TO oban_leaders")


async def execute(engine: AsyncEngine, statement: str) -> Any:
    async with engine.begin() as connection:
        return await connection.execute(text(statement))
