"""Puts the dashboard together."""

from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from sqla_oban.control.watch.reader import Reader
from sqla_oban.runner import SqlaOban
from sqla_oban.settings.checks import positive
from sqla_oban.telemetry.redaction import Redaction, shown
from sqla_oban.web import csrf
from sqla_oban.web.actions import Action, Authorize, User, authenticated_name, read_only
from sqla_oban.web.board import Board
from sqla_oban.web.commands import crons, jobs, queues, workflows
from sqla_oban.web.endpoints import change, page
from sqla_oban.web.guard import Guard
from sqla_oban.web.metrics import Metrics
from sqla_oban.web.metrics import metrics as metrics_page
from sqla_oban.web.pages import fleet
from sqla_oban.web.pages import jobs as job_pages
from sqla_oban.web.pages import workflows as workflow_pages
from sqla_oban.web.pages.health import health
from sqla_oban.web.pages.overview import overview
from sqla_oban.web.rendering import View, whole
from sqla_oban.web.shared import Shared

LIFETIME: Final = 1.0
"""Seconds that an answer is shared among viewers at least."""


def dashboard(
    oban: SqlaOban | AsyncEngine,
    *,
    authorize: Authorize = read_only,
    user: User = authenticated_name,
    args: Redaction = shown,
    meta: Redaction = shown,
    refresh: float = 2.0,
    timeout: float = 2.0,
    metrics: Metrics | None = None,
) -> Starlette:
    """An ASGI application that shows jobs, workflows, queues, crontab and nodes, live, and lets change them who may.

    Mount it in any ASGI application, behind what says who somebody is: it asks for no password. Without `authorize` it
    changes nothing, but whoever reaches it sees everything.

    Args:
        oban: the runner, started or not, or an engine on its database.
        authorize: whether the sender of a request may do an `Action`, `READ` included; sync or async. Default: all may
            read, and that only.
        user: who that is, for the record; default: whom Starlette's AuthenticationMiddleware has found. Whatever is
            changed, and whatever was refused, is told as the telemetry event `OperatorActed`.
        args, meta: what is shown of jobs' arguments and meta: `telemetry.shown`, `hidden`, `only("name", ...)` or a
            function. What is not shown as it is can be neither searched nor edited. Errors are shown as they are,
            and so are statements that the page on health names.
        refresh: seconds between two looks while somebody watches.
        timeout: seconds after which PostgreSQL gives up on a question.
        metrics: what `/metrics` tells those who may `READ`; `sqla_oban.observe.fleet.FleetMetrics()` tells Prometheus
            of queues and nodes. Default: there is no such page.

    Raises:
        ConfigurationError: `refresh` or `timeout` is not above zero.
        UnsupportedEngine: `oban` is neither.

    >>> app.mount("/oban", dashboard(oban, authorize=lambda request, action: request.user.is_admin))  # doctest: +SKIP
    """
    positive("refresh", refresh)
    positive("timeout", timeout)
    runner = oban if isinstance(oban, SqlaOban) else SqlaOban(oban)
    board = Board(
        oban=runner,
        reader=Reader(runner.engine, runner.settings.scope, timeout=timeout),
        shared=Shared(LIFETIME),
        authorize=authorize,
        user=user,
        args=args,
        meta=meta,
        refresh=refresh,
    )
    app = Starlette(
        routes=[*([] if metrics is None else [metrics_page(board, "/metrics", metrics)]), *_routes(board)],
        middleware=[Middleware(Guard)],
        exception_handlers={HTTPException: partial(_explain, board)},
    )
    app.state.leaving = board.leaving
    return app


def _routes(board: Board) -> list[BaseRoute]:
    jobs_changes = {"retry": Action.RETRY_JOBS, "cancel": Action.CANCEL_JOBS, "delete": Action.DELETE_JOBS}
    return [
        page(board, "/", overview),
        page(board, "/jobs", job_pages.jobs),
        page(board, "/jobs/{id:int}", job_pages.job),
        page(board, "/jobs/{id:int}/edit", job_pages.edit, action=Action.EDIT_JOBS),
        page(board, "/workflows", workflow_pages.workflows),
        page(board, "/workflows/{id:int}", workflow_pages.workflow),
        page(board, "/queues", fleet.queues),
        page(board, "/crons", fleet.crons),
        page(board, "/crons/new", fleet.new_cron, action=Action.CREATE_CRONS),
        page(board, "/nodes", fleet.nodes),
        page(board, "/health", health),
        *(
            change(board, f"/jobs/{verb}", action, partial(jobs.ask, action), default="/jobs")
            for verb, action in jobs_changes.items()
        ),
        change(board, "/jobs/{id:int}/edit", Action.EDIT_JOBS, jobs.ask_edit, default="/jobs"),
        change(
            board, "/workflows/{id:int}/cancel", Action.CANCEL_WORKFLOWS, workflows.ask_cancel, default="/workflows"
        ),
        change(board, "/workflows/{id:int}/retry", Action.RETRY_WORKFLOWS, workflows.ask_retry, default="/workflows"),
        change(board, "/queues/pause", Action.PAUSE_QUEUES, queues.ask_pause, default="/queues"),
        change(board, "/queues/resume", Action.PAUSE_QUEUES, queues.ask_resume, default="/queues"),
        change(board, "/queues/scale", Action.SCALE_QUEUES, queues.ask_scale, default="/queues"),
        change(board, "/crons/create", Action.CREATE_CRONS, crons.ask_create, default="/crons"),
        change(board, "/crons/pause", Action.PAUSE_CRONS, crons.ask_pause, default="/crons"),
        change(board, "/crons/resume", Action.PAUSE_CRONS, crons.ask_resume, default="/crons"),
        change(board, "/crons/delete", Action.DELETE_CRONS, crons.ask_delete, default="/crons"),
        Mount("/static", StaticFiles(packages=[("sqla_oban.web", "static")])),
    ]


async def _explain(board: Board, request: Request, error: Exception) -> Response:
    """What went wrong, as a page; without any data, for the visitor may be one who may see none."""
    assert isinstance(error, HTTPException)
    view = View("error.html", "", f"{error.status_code}", {"told": error.detail}, error.status_code, live=False)
    html = whole(board, request, view, frozenset(), csrf.token_of(request))
    return HTMLResponse(html, error.status_code, error.headers)
