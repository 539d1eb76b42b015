"""Reads what claimed jobs of workflows may know of the rest, before their work begins."""

import asyncio
from collections.abc import Awaitable, Callable

from sqla_oban.engine.database import Link
from sqla_oban.engine.directly import Rows
from sqla_oban.queries.workflow import PLACES
from sqla_oban.workers.part import Part

Look = Callable[[list[int]], Awaitable[Rows]]
"""Has `PLACES` answered for the jobs of these ids."""


class Parts:
    """Looks places in workflows up, for all jobs that ask in the same turn of the event loop at once.

    A hundred jobs that are claimed together cost one statement.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._asking: list[tuple[int, asyncio.Future[Part | None]]] = []
        self._answering: set[asyncio.Task[None]] = set()

    async def of(self, id: int) -> Part | None:
        """The place of a job in its workflow; None if it is part of none, or gone.

        It is no part of the claim: jobs without a workflow, and all that is claimed with this one, neither pay nor
        fail for it.

        Raises:
            whatever looking raises.
        """
        if not self._asking:
            task = asyncio.create_task(self._answer())
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        asked: asyncio.Future[Part | None] = asyncio.get_running_loop().create_future()
        self._asking.append((id, asked))
        return await asked

    async def _answer(self) -> None:
        """Whoever was cancelled meanwhile has no need of it any more."""
        asking, self._asking = self._asking, []
        try:
            rows = await self._look([job for job, _ in asking])
        except Exception as error:
            for _, asked in asking:
                if not asked.done():
                    asked.set_exception(error)
            return
        contexts = {workflow: context for _, workflow, _, context in rows if context is not None}
        found = {job: Part(workflow, contexts.get(workflow), upstream) for job, workflow, upstream, _ in rows}
        for job, asked in asking:
            if not asked.done():
                asked.set_result(found.get(job))


def by(link: Link) -> Look:
    """Looks by one of the runner's own connections: to wait for the workers' pool would hold the jobs up."""

    async def look(ids: list[int]) -> Rows:
        return await link.fetch(PLACES, {"ids": ids})

    return look
