import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban.doctor import notifications as module
from sqla_oban.doctor.finding import Verdict
from sqla_oban.doctor.notifications import notifications
from sqla_oban.engine.database import Link
from tests.doctor.swallower import swallowing
from tests.support import both_drivers


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


@both_drivers
async def test_a_notification_that_arrives_is_well(engine: AsyncEngine) -> None:
    assert (await notifications(engine)).verdict is Verdict.OK


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_pooler_that_swallows_notifications_is_found_out(
    driver: str, database_url: URL, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not str(database_url.query.get("host", "")).startswith("/"):
        pytest.skip("the server has no socket that we know")
    monkeypatch.setattr(module, "PATIENCE", 1.0)  # for the notice, and not for connecting and asking
    monkeypatch.setattr(module, "Link", lambda engine, **options: Link(engine, **{**options, "timeout": 30.0}))
    async with swallowing(database_url, directory) as url:
        engine = create_async_engine(url.set(drivername=f"postgresql+{driver}"))
        finding = await notifications(engine)
        await engine.dispose()
    assert finding.verdict is Verdict.PROBLEM
    assert finding.message == "a notification did not arrive within 1 seconds"
    assert "pooler in transaction mode" in finding.remedy


async def test_a_server_that_is_not_there_is_a_problem() -> None:
    engine = create_async_engine("postgresql+asyncpg://127.0.0.1:1/shop")
    finding = await notifications(engine)
    assert finding.verdict is Verdict.PROBLEM
    assert "a notification could not be sent" in finding.message
