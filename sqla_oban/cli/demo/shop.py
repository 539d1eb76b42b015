"""The application of the demonstration: a shop with one table and a few jobs.

Written as an application would write it. The processes that run the jobs import this module, and so find the jobs.
"""

import asyncio
from collections.abc import Sequence

from sqlalchemy import Text, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_oban import Job, current_job, job

sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(expire_on_commit=False)
"""Bound to an engine by each process: `sessions.configure(bind=engine)`."""

PATIENT_ATTEMPT = 3
"""The attempt in which the bank answers."""


class ShopBase(DeclarativeBase):
    """The shop's own tables; those of the queue are elsewhere."""


class Order(ShopBase):
    """An order, and what has been done for it."""

    __tablename__ = "orders"

    number: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str]
    history: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("ARRAY[]::text[]"))


def half_a_second(_: Job) -> float:
    """The usual wait before another attempt grows from seconds to days; here somebody is watching."""
    return 0.5


@job(name="sqla_oban.demo.send_receipt")
async def send_receipt(number: str) -> None:
    """Mail a receipt."""
    await asyncio.sleep(0.2)
    await note(number, "receipt sent")


@job(name="sqla_oban.demo.reserve_stock")
async def reserve_stock(number: str) -> None:
    """Put the item aside."""
    await asyncio.sleep(0.3)
    await note(number, "stock reserved")


@job(name="sqla_oban.demo.charge_card", backoff=half_a_second, max_attempts=5)
async def charge_card(number: str) -> None:
    """Charge a card at a bank that is out of order for a moment.

    Raises:
        ConnectionError: in the first attempts.
    """
    if current_job().attempt < PATIENT_ATTEMPT:
        raise ConnectionError("the bank does not answer")
    await note(number, "card charged")


@job(name="sqla_oban.demo.ask_for_review")
async def ask_for_review(number: str) -> None:
    """Ask the customer for a review."""
    await note(number, "review asked for")


@job(name="sqla_oban.demo.pack")
async def pack(number: str) -> None:
    """Pack the order: a long job in its first attempt, which is not meant to be survived."""
    await note(number, "packing begun")
    if current_job().attempt == 1:
        await asyncio.sleep(3600)
    await note(number, "packed")


async def note(number: str, what: str) -> None:
    """Add a line to an order's history."""
    async with sessions.begin() as session:
        await session.execute(
            update(Order).where(Order.number == number).values(history=func.array_append(Order.history, what))
        )


async def jobs_of(session: AsyncSession, number: str) -> Sequence[Job]:
    """The jobs of an order, as they were enqueued."""
    return (await session.scalars(select(Job).where(Job.args["number"].astext == number).order_by(Job.id))).all()
