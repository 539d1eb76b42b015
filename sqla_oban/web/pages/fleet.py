"""Queues, nodes and the crontab."""

from itertools import groupby
from operator import attrgetter

from starlette.requests import Request

from sqla_oban.control.watch.crontab import crontab
from sqla_oban.control.watch.fleet import fleet
from sqla_oban.control.watch.fleet import queues as queue_states
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.web.board import Board
from sqla_oban.web.rendering import View


async def queues(board: Board, _: Request) -> View:
    """Every queue: where it runs, how full it is, and what waits."""
    found = await board.ask(queue_states, name=board.oban.name)
    return View("queues.html", "queues", "Queues", {"queues": found})


async def nodes(board: Board, _: Request) -> View:
    """Every node: what it runs, what it told of itself with its last beat, and who leads."""
    found = await board.ask(fleet)
    stations = sorted(found.stations, key=attrgetter("name", "node", "queue"))
    by_node = [(key, list(group)) for key, group in groupby(stations, key=attrgetter("name", "node"))]
    leaders = {(lease.name, lease.node): lease for lease in found.leases if lease.left > 0}
    values = {"nodes": by_node, "leaders": leaders, "leases": found.leases, "tolerance": Thresholds().clock}
    return View("nodes.html", "nodes", "Nodes", values)


async def crons(board: Board, _: Request) -> View:
    """Every entry of the crontab: when it comes, and what became of its jobs."""
    found = await board.ask(crontab, timezone=board.oban.settings.scheduler.timezone)
    return View("crons.html", "crons", "Crons", {"crons": found})


async def new_cron(board: Board, _: Request) -> View:
    """A form for an entry."""
    return View("new_cron.html", "crons", "New cron", {"timezone": board.oban.settings.scheduler.timezone}, live=False)
