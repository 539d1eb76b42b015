from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import HTTPException
from sqlalchemy import URL, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from examples.fastapi_app.app import app, session_of_request
from examples.fastapi_app.database import Base, Order, sessions
from sqla_oban import Job
from sqla_oban.migrations import migrate
from tests.support import eventually

BICYCLE = {"id": "A-17", "item": "a bicycle"}


@pytest.fixture
async def client(url: URL, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running application, on a migrated database."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client
    app.dependency_overrides.clear()


async def stored(entity: Any) -> Sequence[Any]:
    async with sessions() as session:
        return (await session.scalars(select(entity))).all()


async def test_an_order_is_confirmed_by_its_job(client: httpx.AsyncClient) -> None:
    response = await client.post("/orders", json=BICYCLE)
    assert (response.status_code, response.json()) == (201, {**BICYCLE, "confirmed_at": None})

    async def confirmed() -> bool:
        return (await client.get("/orders/A-17")).json()["confirmed_at"] is not None

    await eventually(confirmed, "the order to be confirmed")
    [job] = await stored(Job)
    assert (job.worker, job.args) == ("orders.confirm", {"order_id": "A-17"})


async def test_a_request_sent_twice_makes_one_order_and_one_job(client: httpx.AsyncClient) -> None:
    await client.post("/orders", json=BICYCLE)
    again = await client.post("/orders", json={**BICYCLE, "item": "a tricycle"})

    assert again.status_code == 409
    assert "A-17" in again.json()["detail"]
    assert [order.item for order in await stored(Order)] == ["a bicycle"]
    assert len(await stored(Job)) == 1


@pytest.mark.parametrize("failure", [HTTPException(402), RuntimeError("the power went out")])
async def test_a_request_that_fails_before_its_commit_leaves_neither_an_order_nor_a_job(
    client: httpx.AsyncClient, failure: Exception
) -> None:
    class Failing(AsyncSession):
        async def commit(self) -> None:
            await self.flush()
            rows = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM oban_jobs)"
            seen.append(tuple((await self.execute(text(rows))).one()))
            raise failure

    async def failing() -> AsyncIterator[AsyncSession]:
        async with Failing(sessions.kw["bind"]) as session:
            yield session

    seen: list[tuple[int, int]] = []
    app.dependency_overrides[session_of_request] = failing

    response = await client.post("/orders", json=BICYCLE)

    assert response.status_code in {402, 500}
    assert seen == [(1, 1)]  # both were written, and went back together
    assert await stored(Order) == []
    assert await stored(Job) == []


async def test_an_order_outlives_its_job(client: httpx.AsyncClient) -> None:
    await client.post("/orders", json=BICYCLE)
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM oban_jobs"))

    assert (await client.get("/orders/A-17")).status_code == 200


@pytest.mark.parametrize("body", [{}, {**BICYCLE, "id": "A 17"}, {**BICYCLE, "item": ""}, {**BICYCLE, "item": "\x00"}])
async def test_what_is_no_order_is_refused(client: httpx.AsyncClient, body: dict[str, str]) -> None:
    assert (await client.post("/orders", json=body)).status_code == 422
    assert await stored(Job) == []


@pytest.mark.parametrize(("path", "status"), [("/orders/B-1", 404), ("/orders/%00", 422)])
async def test_an_order_that_does_not_exist_is_not_found(client: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await client.get(path)).status_code == status
