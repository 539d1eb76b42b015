"""Step 1: jobs are committed with the rows that they are about."""

from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban.cli.demo.screen import Lesson
from sqla_oban.cli.demo.shop import Order, jobs_of, reserve_stock, send_receipt, sessions
from sqla_oban.cli.demo.steps.step import Step

NUMBER = "A-1"


class Committed(Step):
    """An order and two jobs, in one transaction."""

    lesson = Lesson(
        title="An order and its jobs are committed together",
        moral="Jobs are rows beside yours: one COMMIT stores them all, and its NOTIFY wakes a node, which runs them.",
        code="""\
async with sessions.begin() as session:
    session.add(Order(number="A-1", item="tea"))
    session.add_all([send_receipt.new("A-1"), reserve_stock.new("A-1")])""",
        expected="order stored; receipt sent, stock reserved; jobs: completed, completed",
    )

    async def act(self) -> None:
        """Commit."""
        async with sessions.begin() as session:
            session.add(Order(number=NUMBER, item="tea"))
            session.add_all([send_receipt.new(NUMBER), reserve_stock.new(NUMBER)])
        self._screen.tell(f"COMMIT: order {NUMBER} and two jobs")

    async def read(self, session: AsyncSession) -> str:
        """The order, what the jobs did for it, and how they ended."""
        order = await session.get(Order, NUMBER)
        if order is None:
            return "no order"
        done = ", ".join(sorted(order.history)) or "nothing done"
        return f"order stored; {done}; jobs: {', '.join(job.state for job in await jobs_of(session, NUMBER))}"
