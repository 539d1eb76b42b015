"""Step 2: jobs of a transaction that is rolled back were never there."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban.cli.demo.screen import Lesson
from sqla_oban.cli.demo.shop import Order, jobs_of, send_receipt, sessions
from sqla_oban.cli.demo.steps.step import Step

NUMBER = "A-2"


class RolledBack(Step):
    """An order and its job, stored and then rolled back."""

    lesson = Lesson(
        title="An order is rolled back, and its job with it",
        moral="No receipt for an order that does not exist: until the COMMIT no node sees the job, and without "
        "it none ever will.",
        code="""\
session.add_all([Order(number="A-2", item="coffee"), send_receipt.new("A-2")])
await session.flush()     # both are in the tables, for this transaction alone
await session.rollback()  # and gone""",
        expected="before: orders 1, jobs 1; after: orders 0, jobs 0",
    )

    _before = "nothing"

    async def act(self) -> None:
        """Store both, look, and roll back."""
        async with sessions() as session:
            session.add_all([Order(number=NUMBER, item="coffee"), send_receipt.new(NUMBER)])
            await session.flush()
            self._before = await self._count(session)
            await session.rollback()
        self._screen.tell(f"ROLLBACK: order {NUMBER} and its job")

    async def read(self, session: AsyncSession) -> str:
        """What was there before the rollback, and what is after it."""
        return f"before: {self._before}; after: {await self._count(session)}"

    async def _count(self, session: AsyncSession) -> str:
        orders = await session.scalar(select(func.count()).select_from(Order).where(Order.number == NUMBER))
        return f"orders {orders}, jobs {len(await jobs_of(session, NUMBER))}"
