"""Changing the crontab: create, pause, resume, delete."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from sqla_oban.errors import InvalidJob
from sqla_oban.web.board import Board
from sqla_oban.web.endpoints import Asked, Done
from sqla_oban.web.forms import Form


async def ask_pause(board: Board, _: Request, form: Form) -> Asked:
    """Let an entry make no jobs."""
    name = form.one("name")
    return _asked(name, board.oban.crons.pause, f"{name} is paused.", "pause")


async def ask_resume(board: Board, _: Request, form: Form) -> Asked:
    """Let it make jobs from now on."""
    name = form.one("name")
    return _asked(name, board.oban.crons.resume, f"{name} goes on from now.", "resume")


async def ask_delete(board: Board, _: Request, form: Form) -> Asked:
    """Remove an entry."""
    name = form.one("name")
    return _asked(name, board.oban.crons.delete, f"{name} is deleted; the jobs that it has made stay.", "")


async def ask_create(board: Board, _: Request, form: Form) -> Asked:
    """A new entry."""
    name, worker = form.one("name").strip(), form.one("worker").strip()

    async def work() -> Done:
        queue: dict[str, Any] = {"queue": form.one("queue").strip()} if form.one("queue").strip() else {}
        template = board.oban.settings.scope.model(worker=worker, args=_args(form), **queue)
        zone = form.one("timezone").strip() or None
        await board.oban.crons.create(name, form.one("expression").strip(), template, timezone=zone)
        return Done(f"{name} was created.", (name,), back="/crons")

    return Asked((name,), f"{form.one('expression')} {worker}", work)


def _asked(name: str, change: Callable[[str], Awaitable[object]], told: str, details: str) -> Asked:
    async def work() -> Done:
        await change(name)
        return Done(told, (name,))

    return Asked((name,), details, work)


def _args(form: Form) -> dict[str, object]:
    try:
        args = json.loads(form.one("args").strip() or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"the arguments must be JSON: {error}") from None
    if not isinstance(args, dict):
        raise InvalidJob("the arguments must be a JSON object")
    return args
