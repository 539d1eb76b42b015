import re

import pytest
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from examples.workflow import main


async def test_it_reports_on_all_pages(
    engine: AsyncEngine, database_url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = database_url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", address)
    await main()
    told = capsys.readouterr().out
    assert told.startswith("30 rows on 2026-11-25\n")
    assert len(re.findall(r"<br/>completed", told)) == 5
