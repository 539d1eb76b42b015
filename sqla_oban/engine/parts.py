"""Reads what claimed jobs of workflows may know of the rest, before their work begins."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from sqla_oban.engine.database import Link
from sqla_oban.engine.directly import Rows
from sqla_oban.models.workflow import MARK
from sqla_oban.queries.claim import Claimed
from sqla_oban.queries.workflow import PLACES
from sqla_oban.workers.part import Part

Look = Callable[[list[int]], Awaitable[Rows]]
"""Has `PLACES` answered for the jobs of these ids."""
Parts = Mapping[int, Part | None]
"""The places of jobs in their workflows, by the ids of the jobs; None for one that is part of none, or gone."""
NO_PARTS: Parts = {}


def has_part(claimed: Claimed) -> bool:
    """Whether a job may be part of a workflow; if the mark is only another's word, nothing will be found."""
    return MARK in claimed.meta


async def parts_of(ids: Sequence[int], look: Look) -> Parts:
    """The places of jobs, by one statement.

    Raises:
        whatever looking raises.
    """
    rows = await look(list(ids))
    contexts = {workflow: context for _, workflow, _, context in rows if context is not None}
    found = {job: Part(workflow, contexts.get(workflow), upstream) for job, workflow, upstream, _ in rows}
    return {id_: found.get(id_) for id_ in ids}


def by(link: Link) -> Look:
    """Looks by one of the runner's own connections: to wait for the workers' pool would hold the jobs up."""

    async def look(ids: list[int]) -> Rows:
        return await link.fetch(PLACES, {"ids": ids})

    return look
