"""Reads what claimed jobs of workflows may know of the rest, before their work begins."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.errors import NotProvided
from sqla_oban.queries.workflow import contexts, upstream
from sqla_oban.workers.part import Part, Upstream
from sqla_oban.workers.providing import Provider

UPSTREAM, CONTEXTS = upstream(), contexts()


class Parts:
    """Looks places in workflows up, for all jobs that ask in the same turn of the event loop at once.

    A hundred jobs that are claimed together would otherwise take a session each, and wait for the pool.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._asking: list[int] = []
        self._reading: asyncio.Task[Mapping[int, Part]] | None = None

    async def of(self, id: int) -> Part | None:
        """The place of a job in its workflow; None if it is part of none, or gone.

        It is no part of the claim: jobs without a workflow, and all that is claimed with this one, neither pay nor
        fail for it.
        """
        self._asking.append(id)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return (await asyncio.shield(self._reading)).get(id)

    async def _read(self) -> Mapping[int, Part]:
        """In a session of its own, which is closed before the work begins."""
        ids, self._asking, self._reading = self._asking, [], None
        async with AsyncExitStack() as stack:
            try:
                session: AsyncSession = await self._provider.enter(AsyncSession, stack)
            except NotProvided:  # in a test that has a sync session only
                with ExitStack() as guests:
                    return _read(self._provider.open(Session, guests), ids, self._provider.schema)
            return await session.run_sync(_read, ids, self._provider.schema)


def _read(session: Session, ids: list[int], schema: str | None) -> Mapping[int, Part]:
    options: dict[str, Any] = {} if schema is None else {"schema_translate_map": {None: schema}}
    found = session.execute(UPSTREAM, {"ids": ids}, execution_options=options).all()
    workflows = sorted({row.workflow_id for row in found})
    said = {
        row.id: row.context for row in session.execute(CONTEXTS, {"workflows": workflows}, execution_options=options)
    }
    return {
        row.id: Part(
            row.workflow_id,
            json.loads(said.get(row.workflow_id) or "{}"),
            {name: Upstream(**one) for name, one in json.loads(row.upstream or "{}").items()},
        )
        for row in found
    }
