"""Workers that somebody may have meant who wrote a part of their name."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from sqla_oban.cli.operating.client import answer
from sqla_oban.control.watch.browsing import browse
from sqla_oban.queries.filters import JobFilter
from sqla_oban.runner import SqlaOban
from sqla_oban.workers.registry import REGISTRY

READ: Final = 100
"""The newest jobs with the part in their worker's name whose workers are known."""


async def hint(oban: SqlaOban, workers: Sequence[str]) -> str | None:
    """Which workers may have been meant, of those that are declared here and those of jobs; None if none.

    Args:
        oban: on the database.
        workers: as they were named.
    """
    meant = [name for worker in workers for name in await _resembling(oban, worker)]
    return f"a worker is named as it is stored, in full; did you mean {' or '.join(meant)}?" if meant else None


async def _resembling(oban: SqlaOban, worker: str) -> list[str]:
    page = await answer(oban, partial(browse, wanted=JobFilter(words=(worker,)), size=READ))
    known = {*REGISTRY, *(job.worker for job in page.jobs)}
    return [] if worker in known else sorted(name for name in known if name.endswith(f".{worker}"))
