import importlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import HTTPException
from sqlalchemy import URL, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban import Job
from sqla_oban.migrations import migrate
from tests.cli.command import TIMEOUT
from tests.examples.server import free_port, poll, running, wait_until
from tests.support import eventually

BICYCLE = {"id": "A-17", "item": "a bicycle"}


@pytest.fixture
async def module(url: URL, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The application's module as a new process would import it, on a migrated database."""
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    for name in [name for name in sys.modules if name.startswith("examples.fastapi_app.")]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("examples.fastapi_app.app")
    async with module.engine.begin() as connection:
        await connection.run_sync(migrate)
        await connection.run_sync(importlib.import_module("examples.fastapi_app.database").Base.metadata.create_all)
    yield module
    await module.engine.dispose()


@pytest.fixture
async def client(module: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running application."""
    transport = httpx.ASGITransport(app=module.app, raise_app_exceptions=False)
    async with (
        module.app.router.lifespan_context(module.app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


async def stored(module: Any, entity: Any) -> Sequence[Any]:
    async with module.sessions() as session:
        return list(await session.scalars(select(entity)))


async def test_an_order_is_confirmed_by_its_job(module: Any, client: httpx.AsyncClient) -> None:
    response = await client.post("/orders", json=BICYCLE)
    assert (response.status_code, response.json()) == (201, {**BICYCLE, "confirmed_at": None})

    async def confirmed() -> bool:
        return (await client.get("/orders/A-17")).json()["confirmed_at"] is not None

    await eventually(confirmed, "the order to be confirmed")
    [job] = await stored(module, Job)
    assert (job.worker, job.args) == ("orders.confirm", {"order_id": "A-17"})


async def test_a_request_sent_twice_makes_one_order_and_one_job(module: Any, client: httpx.AsyncClient) -> None:
    await client.post("/orders", json=BICYCLE)
    again = await client.post("/orders", json={**BICYCLE, "item": "a tricycle"})

    assert again.status_code == 409
    assert "A-17" in again.json()["detail"]
    assert [order.item for order in await stored(module, module.Order)] == ["a bicycle"]
    assert len(await stored(module, Job)) == 1


@pytest.mark.parametrize("failure", [HTTPException(402), RuntimeError("the power went out")])
async def test_a_request_that_fails_before_its_commit_leaves_neither_an_order_nor_a_job(
    module: Any, client: httpx.AsyncClient, failure: Exception
) -> None:
    class Failing(AsyncSession):
        async def commit(self) -> None:
            await self.flush()
            rows = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM oban_jobs)"
            seen.append(tuple((await self.execute(text(rows))).one()))
            raise failure

    async def failing() -> AsyncIterator[AsyncSession]:
        async with Failing(module.engine) as session:
            yield session

    seen: list[tuple[int, int]] = []
    module.app.dependency_overrides[module.session_of_request] = failing

    response = await client.post("/orders", json=BICYCLE)

    assert response.status_code in {402, 500}
    assert seen == [(1, 1)]  # both were written, and went back together
    assert await stored(module, module.Order) == []
    assert await stored(module, Job) == []


async def test_an_order_outlives_its_job(module: Any, client: httpx.AsyncClient) -> None:
    await client.post("/orders", json=BICYCLE)
    async with module.sessions.begin() as session:
        await session.execute(text("DELETE FROM oban_jobs"))

    assert (await client.get("/orders/A-17")).status_code == 200


@pytest.mark.parametrize("body", [{}, {**BICYCLE, "id": "A 17"}, {**BICYCLE, "item": ""}, {**BICYCLE, "item": "\x00"}])
async def test_what_is_no_order_is_refused(module: Any, client: httpx.AsyncClient, body: dict[str, str]) -> None:
    assert (await client.post("/orders", json=body)).status_code == 422
    assert await stored(module, Job) == []


@pytest.mark.parametrize(("path", "status"), [("/orders/B-1", 404), ("/orders/%00", 422)])
async def test_an_order_that_does_not_exist_is_not_found(client: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await client.get(path)).status_code == status


def test_it_runs_as_its_readme_says(url: URL, tmp_path: Path) -> None:
    given = {"DATABASE_URL": url.render_as_string(hide_password=False)}
    port, log = free_port(), tmp_path / "log"
    here = f"http://127.0.0.1:{port}/orders"
    with running("alembic", "upgrade", "head", log=log, **given) as process:
        assert process.wait() == 0, log.read_text()
    with running("uvicorn", "examples.fastapi_app.app:app", "--port", str(port), log=log, **given) as process:
        wait_until(process, log, here)
        assert httpx.post(here, json=BICYCLE, timeout=TIMEOUT).status_code == 201
        assert poll(f"{here}/A-17", "confirmed_at")
    assert "Application shutdown complete" in log.read_text()
