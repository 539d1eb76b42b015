"""Step 5: any number of nodes, one leader."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban import Peer
from sqla_oban.cli.demo.screen import Lesson
from sqla_oban.cli.demo.steps.step import Step
from sqla_oban.models import Producer


class Led(Step):
    """A second node process joins the first."""

    lesson = Lesson(
        title="A second node joins; one of the two leads",
        moral="Start as many processes as you like: PostgreSQL hands each job to one of them, and a lease in a row "
        "makes one the leader, which rescues and prunes for all.",
        code="""\
oban = SqlaOban(engine, queues={"default": 5})  # in every process the same
await oban.run()                                # oban.is_leader is true in one of them""",
        expected="nodes: 2, leaders: 1",
    )

    async def act(self) -> None:
        """Start the second node."""
        await self._fleet.add()

    async def read(self, session: AsyncSession) -> str:
        """How many nodes prove that they live, and how many lead: by the lease in the database or by their own word."""
        nodes = (await session.scalars(select(Producer.node).distinct())).all()
        now = func.timezone("UTC", func.clock_timestamp())
        holders = (await session.scalars(select(Peer.node).where(Peer.expires_at > now))).all()
        return f"nodes: {len(nodes)}, leaders: {len(self._fleet.leaders.union(holders))}"
