"""The overview: what is going on, and whether it is going well."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from sqla_oban.control.watch.activity import activity, failing
from sqla_oban.control.watch.counting import count
from sqla_oban.control.watch.fleet import fleet, queues
from sqla_oban.states import JobState
from sqla_oban.web import charts
from sqla_oban.web.board import Board
from sqla_oban.web.rendering import View


@dataclass(frozen=True, slots=True)
class Period:
    """How far back is looked, in buckets of how many seconds."""

    name: str
    span: float
    width: float


PERIODS: Final = {
    one.name: one
    for one in (
        Period("10m", 600, 10),
        Period("1h", 3_600, 60),
        Period("6h", 21_600, 300),
        Period("24h", 86_400, 1_200),
    )
}
DEFAULT: Final = "1h"


async def overview(board: Board, request: Request) -> View:
    """Charts, the queues, and what fails."""
    period = PERIODS.get(request.query_params.get("period", DEFAULT), PERIODS[DEFAULT])
    found = await board.ask(activity, span=period.span, width=period.width)
    counts = await board.ask(count)
    stations = [one for one in (await board.ask(fleet)).stations if one.alive]
    minutes = (found.now - found.since) / 60
    failed = found.totals[JobState.RETRYABLE] + found.totals[JobState.DISCARDED]
    ended = failed + found.totals[JobState.COMPLETED]
    values = {
        "period": period,
        "periods": PERIODS.values(),
        "activity": found,
        "counts": counts,
        "per_minute": found.totals[JobState.COMPLETED] / minutes if minutes else 0,
        "failed": failed,
        "failure_rate": failed / ended if ended else 0.0,
        "limit": sum(one.limit or 0 for one in stations),
        "nodes": len({(one.name, one.node) for one in stations}),
        "charts": [
            charts.throughput(found),
            charts.backlog(found),
            charts.percentiles(found, "ran", "Run time"),
            charts.percentiles(found, "waited", "Wait before the run"),
        ],
        "queues": await board.ask(queues, name=board.oban.name),
        "failures": await board.ask(failing),
    }
    return View("overview.html", "overview", "Overview", values)
