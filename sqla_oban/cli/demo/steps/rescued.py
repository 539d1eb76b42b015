"""Step 6: the job of a node that dies is run by another."""

from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban import JobState
from sqla_oban.cli.demo.screen import Lesson
from sqla_oban.cli.demo.shop import Order, jobs_of, pack, sessions
from sqla_oban.cli.demo.steps.step import Step

NUMBER = "A-5"


class Rescued(Step):
    """A node is killed while it runs a job."""

    lesson = Lesson(
        title="A node is killed with SIGKILL; the other runs its job again",
        moral="A node that lives proves it, here twice a second. When the proofs end, the leader puts the node's jobs "
        "back, and the lost attempt counts: a job that kills its process does not do so for ever.",
        code="""\
SqlaOban(engine, queues={"default": 5}, heartbeat=HeartbeatSettings(interval=0.5, ttl=3, margin=1))""",
        expected="rescued once; completed by the other node in attempt 2; packing begun, packing begun, packed",
    )

    _victim: str | None = None

    async def act(self) -> None:
        """Commit an order with a long job, and kill the node that runs it."""
        async with sessions.begin() as session:
            session.add_all([Order(number=NUMBER, item="a kettle"), pack.new(NUMBER)])
        self._screen.tell(f"COMMIT: order {NUMBER} and a job that would take an hour")
        if await self._patience.until(self._is_running):
            assert self._victim is not None
            await self._fleet.kill(self._victim)

    async def read(self, session: AsyncSession) -> str:
        """Who ran the job in the end, in which attempt."""
        order = await session.get_one(Order, NUMBER)
        (job,) = await jobs_of(session, NUMBER)
        if self._victim is None:
            return f"no node was running the job; {job.state}"
        if not job.meta.get("rescued"):
            return f"not rescued; {job.state}"
        who = "the killed node" if job.attempted_by[0] == self._victim else "the other node"
        times = "once" if job.meta["rescued"] == 1 else f"{job.meta['rescued']} times"
        done = ", ".join(order.history) or "nothing done"
        return f"rescued {times}; {job.state} by {who} in attempt {job.attempt}; {done}"

    async def _is_running(self) -> bool:
        """Whether the job's own code has said so; a claimed job may still be on its way."""
        async with sessions() as session:
            order = await session.get_one(Order, NUMBER)
            (job,) = await jobs_of(session, NUMBER)
        if order.history and job.state is JobState.EXECUTING:
            self._victim = job.attempted_by[0]
        return self._victim is not None
