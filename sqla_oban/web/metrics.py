"""What Prometheus reads of a dashboard."""

from collections.abc import Iterable
from typing import Final, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sqla_oban.control.watch.depths import Depth, depths
from sqla_oban.control.watch.fleet import Fleet, fleet
from sqla_oban.observe.answer import Answer
from sqla_oban.web.actions import Action, allowed
from sqla_oban.web.board import Board
from sqla_oban.web.endpoints import explained

GOOD_FOR: Final = 5.0
"""Seconds that an answer is good for, however many ask for it."""


class Metrics(Protocol):
    """Says in words of a monitoring system what was found; `sqla_oban.observe.fleet.FleetMetrics`."""

    def exposed(self, depths: Iterable[Depth], fleet: Fleet) -> Answer:
        """The answer to who asks."""


def metrics(board: Board, path: str, words: Metrics) -> Route:
    """The metrics, for who may read the pages: they name the same queues and nodes."""

    async def found() -> Answer:
        return words.exposed(await board.ask(depths), await board.ask(fleet))

    async def answer(request: Request) -> Response:
        if not await allowed(board.authorize, request, Action.READ):
            return PlainTextResponse("You may not see this.\n", 403)
        try:
            told = await explained(board.shared.get("metrics", found, lifetime=GOOD_FOR))
        except HTTPException as refused:
            return PlainTextResponse(f"{refused.detail}\n", refused.status_code, refused.headers)
        return Response(told.body, told.status, headers={"content-type": told.kind})

    return Route(path, answer, methods=["GET"])
