"""Step 4: a job for later runs later."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban.cli.demo.screen import Lesson
from sqla_oban.cli.demo.shop import Order, ask_for_review, jobs_of, sessions
from sqla_oban.cli.demo.steps.step import Step

NUMBER = "A-4"
DELAY = timedelta(seconds=2)


class Scheduled(Step):
    """A review is asked for two seconds after the order."""

    lesson = Lesson(
        title="A scheduled job runs when it is due",
        moral="The moment stands in the row, by the clock of the database: no timer in any process is lost with it.",
        code="""\
session.add(ask_for_review.with_options(schedule_in=2).new("A-4"))""",
        expected="completed; due 2 s after the commit or later, and not started before that",
    )

    async def act(self) -> None:
        """Commit an order with a job for later."""
        async with sessions.begin() as session:
            session.add(Order(number=NUMBER, item="a cup"))
            session.add(ask_for_review.with_options(schedule_in=DELAY).new(NUMBER))
        self._screen.tell(f"COMMIT: order {NUMBER} and a job that is due in {DELAY.seconds} seconds")

    async def read(self, session: AsyncSession) -> str:
        """When the job was due, and when it started."""
        (job,) = await jobs_of(session, NUMBER)
        if job.attempted_at is None:
            return f"{job.state}; not started yet"
        due = "due 2 s after the commit or later" if job.scheduled_at >= job.inserted_at + DELAY else "due at once"
        started = "not started before that" if job.attempted_at >= job.scheduled_at else "started before that"
        return f"{job.state}; {due}, and {started}"
