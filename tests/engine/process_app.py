"""What processes of these tests are set up by, and workers that are to run there."""

import os
import time
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

import tests.faults.payments  # noqa: F401 (declares workers)
from sqla_oban import Record, SqlaOban, current_job, inject, job
from tests.shop import Order


class Carrier:
    name = "made there"


def make_oban() -> SqlaOban:
    """As an application makes it, with what its workers ask for."""
    engine = create_async_engine(os.environ["SHOP_URL"])
    url = engine.url.set(drivername="postgresql+psycopg")
    return SqlaOban(engine, dependencies={Carrier: Carrier, Session: sessionmaker(create_engine(url))})


async def make_dependencies() -> dict[Any, Any]:
    return {AsyncSession: async_sessionmaker(create_async_engine(os.environ["SHOP_URL"]), expire_on_commit=False)}


@job(name="processes.ship")
async def ship(order: Order, session: AsyncSession = inject(), carrier: Carrier = inject()) -> object:
    order.item += f" {carrier.name} {current_job().attempt}"
    await session.commit()
    return Record(os.getpid())


@job(name="processes.pack")
def pack(order: Order) -> object:
    return Record([order.item, os.getpid()])


@job(name="processes.here", executor="async")
async def here() -> object:
    return Record(os.getpid())


@job(name="processes.there", executor="process")
def there() -> object:
    return Record(os.getpid())


@job(name="processes.hang", executor="process", backoff=lambda _: 60)
def hang(seconds: float = 600, session: Session = inject()) -> None:
    """Says in the database that it has begun, and ends only with its process."""
    run = {"id": current_job().id, "pid": os.getpid()}
    session.execute(text("INSERT INTO runs VALUES (:id, 1, :pid, '')"), run)
    session.commit()
    time.sleep(seconds)


@job(name="processes.hang_for_a_moment", executor="process", timeout=0.01, backoff=lambda _: 3_600)
def hang_for_a_moment() -> None:
    time.sleep(600)
