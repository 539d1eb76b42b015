import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.doctor import server as module
from sqla_oban.doctor.finding import Finding, Verdict
from sqla_oban.doctor.server import server

ANSWER = (
    "SELECT '{version}' AS version, {major} AS major, {standby} AS standby, false AS read_only, "
    "'me' AS role, 'd' AS database"
)


@pytest.mark.parametrize(
    ("version", "major", "standby", "complaint"),
    [
        ("13.22", 13, False, "PostgreSQL 13.22 is too old"),
        ("14.0", 14, True, "this is a standby, which takes no writes"),
    ],
)
async def test_a_server_that_does_not_serve_is_a_problem(
    version: str, major: int, standby: bool, complaint: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ANSWER.format(version=version, major=major, standby=str(standby).lower())
    monkeypatch.setattr(module, "QUESTION", text(answer))
    assert [one.message for one in await asked(engine) if one.verdict is Verdict.PROBLEM] == [complaint]


async def test_this_server_serves(engine: AsyncEngine) -> None:
    assert {one.verdict for one in await asked(engine)} == {Verdict.OK}


async def asked(engine: AsyncEngine) -> list[Finding]:
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: list(server(sync)))
