# Orders over HTTP, by Litestar: each is stored together with the job that confirms it.
#
#     pip install sqla-oban litestar uvicorn
#     export DATABASE_URL=postgresql+asyncpg://user:password@localhost/orders
#     uvicorn examples.litestar_app.app:app
#
#     curl localhost:8000/orders --json '{"item": "a bicycle"}'
#     curl localhost:8000/orders/1

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litestar import Litestar, get, post
from litestar.di import Provide
from litestar.exceptions import NotFoundException
from sqlalchemy import DateTime, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_oban import SqlaOban, inject, job
from sqla_oban.migrations import migrate

engine = create_async_engine(os.environ["DATABASE_URL"])
sessions = async_sessionmaker(engine, expire_on_commit=False)
oban = SqlaOban(engine, queues={"orders": 10}, session_factory=sessions)


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    confirmed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


@job(name="orders.confirm", queue="orders", transactional=True)  # its effect and its outcome are one commit
async def confirm_order(order: Order, session: AsyncSession = inject()) -> None:
    order.confirmed_at = await session.scalar(select(func.now()))


@asynccontextmanager
async def database(_: Litestar) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(migrate)  # makes the tables of sqla_oban; or have alembic do it
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


async def session_of_request() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:  # rolls back what the handler did not commit
        yield session


@dataclass
class NewOrder:
    item: str


@post("/orders")
async def create_order(data: NewOrder, session: AsyncSession) -> dict[str, Any]:
    order = Order(item=data.item)
    session.add_all([order, confirm_order.new(order)])
    await session.commit()  # the order and its job, or neither
    return {"id": order.id, "item": order.item}


@get("/orders/{order_id:int}")
async def read_order(order_id: int, session: AsyncSession) -> dict[str, Any]:
    order = await session.get(Order, order_id)
    if order is None:
        raise NotFoundException(f"there is no order {order_id}")
    return {"id": order.id, "item": order.item, "confirmed_at": order.confirmed_at}


app = Litestar(
    [create_order, read_order],
    dependencies={"session": Provide(session_of_request)},
    lifespan=[database, oban.lifespan],  # started in this order, stopped in the other
)
