"""Reads what a claimed job of a workflow may know of the rest, before its work begins."""

import json
from contextlib import AsyncExitStack, ExitStack

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.errors import NotProvided
from sqla_oban.queries.workflow import upstream
from sqla_oban.workers.part import Part, Upstream
from sqla_oban.workers.providing import Provider

UPSTREAM = upstream()


async def part_of(id: int, provider: Provider) -> Part | None:
    """The place of a job in its workflow; None if it is part of none, or gone.

    In a session of its own, which is closed before the work begins. It is no part of the claim: jobs without a
    workflow, and all that is claimed with this one, neither pay nor fail for it.
    """
    options = {} if provider.schema is None else {"schema_translate_map": {None: provider.schema}}
    async with AsyncExitStack() as stack:
        try:
            session: AsyncSession = await provider.enter(AsyncSession, stack)
        except NotProvided:  # in a test that has a sync session only
            with ExitStack() as guests:
                guest: Session = provider.open(Session, guests)
                found = guest.execute(UPSTREAM, {"id": id}, execution_options=options).one_or_none()
        else:
            found = (await session.execute(UPSTREAM, {"id": id}, execution_options=options)).one_or_none()
    if found is None or found.workflow_id is None:
        return None
    seen = {name: Upstream(**one) for name, one in json.loads(found.upstream or "{}").items()}
    return Part(found.workflow_id, json.loads(found.context or "{}"), seen)
