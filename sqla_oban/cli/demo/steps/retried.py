"""Step 3: a job that fails is tried again."""

from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban.cli.demo.screen import Lesson
from sqla_oban.cli.demo.shop import Order, charge_card, jobs_of, sessions
from sqla_oban.cli.demo.steps.step import Step

NUMBER = "A-3"


class Retried(Step):
    """A card is charged at a bank that answers only in the third attempt."""

    lesson = Lesson(
        title="A job that fails is tried again until it succeeds",
        moral="An exception is an attempt, not an end: it is kept in the row with its traceback, and the job "
        "waits for its backoff, here half a second.",
        code="""\
@job(backoff=half_a_second, max_attempts=5)
async def charge_card(number: str) -> None:
    ...  # raises ConnectionError in the attempts 1 and 2""",
        expected="completed in attempt 3, with 2 errors kept; card charged",
    )

    async def act(self) -> None:
        """Commit an order with a job that fails at first."""
        async with sessions.begin() as session:
            session.add_all([Order(number=NUMBER, item="a teapot"), charge_card.new(NUMBER)])
        self._screen.tell(f"COMMIT: order {NUMBER} and the charging of a card")

    async def read(self, session: AsyncSession) -> str:
        """How often the job was tried, and what came of it."""
        order = await session.get_one(Order, NUMBER)
        (job,) = await jobs_of(session, NUMBER)
        done = ", ".join(order.history) or "nothing done"
        return f"{job.state} in attempt {job.attempt}, with {len(job.errors)} errors kept; {done}"
