"""Changing jobs: retry, cancel, delete, edit."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from starlette.requests import Request

from sqla_oban.control.watch.browsing import browse
from sqla_oban.control.watch.details import JobDetails
from sqla_oban.control.watch.search import parsed
from sqla_oban.errors import InvalidJob, InvalidSelection
from sqla_oban.web.actions import Action
from sqla_oban.web.board import Board
from sqla_oban.web.endpoints import Asked, Done
from sqla_oban.web.forms import Form
from sqla_oban.web.pages.jobs import editable, of_state, permitted, state_of, the_job

MOST: Final = 1_000
"""Jobs that one change is for."""

PAST: Final = {Action.RETRY_JOBS: "made available", Action.CANCEL_JOBS: "cancelled", Action.DELETE_JOBS: "deleted"}


async def ask(action: Action, board: Board, _: Request, form: Form) -> Asked:
    """A change of those that are ticked, or of all that a search finds."""
    verbs: dict[Action, Callable[[list[int]], Awaitable[int]]] = {
        Action.RETRY_JOBS: board.oban.jobs.retry,
        Action.CANCEL_JOBS: board.oban.jobs.cancel,
        Action.DELETE_JOBS: board.oban.jobs.delete,
    }
    ids = await _found(board, form) if "all" in form else _ticked(form)

    async def work() -> Done:
        count = await verbs[action](ids)
        left = len(ids) - count
        rest = f"; {left} {'was' if left == 1 else 'were'} not in a state for it" if left else ""
        said = f"{count} {'job was' if count == 1 else 'jobs were'} {PAST[action]}{rest}."
        return Done(said, tuple(map(str, ids)), count)

    return Asked(tuple(map(str, ids)), f"search {form.one('q')!r}" if "all" in form else "", work)


async def ask_edit(board: Board, request: Request, form: Form) -> Asked:
    """A change of what a job holds: of those fields that differ from what is stored."""
    job = await the_job(board, request)

    async def work() -> Done:
        fields = _changed(board, job, form)
        if fields:
            await board.oban.jobs.update(job.id, **fields)
        said = f"Job {job.id}: {', '.join(fields)} changed." if fields else f"Job {job.id} is as it was."
        return Done(said, (str(job.id),), len(fields) and 1, back=f"/jobs/{job.id}")

    return Asked((str(job.id),), "", work)


def _ticked(form: Form) -> list[int]:
    ids = [one for one in form.all("id") if one.isascii() and one.isdecimal() and len(one) < 20]
    if not ids:
        raise InvalidSelection("No job was selected.")
    return [int(one) for one in ids[:MOST]]


async def _found(board: Board, form: Form) -> list[int]:
    wanted = of_state(state_of(form.one("state")), permitted(board, parsed(form.one("q"))))
    page = await board.reader.ask(partial(browse, wanted=wanted, size=MOST))
    if not page.jobs:
        raise InvalidSelection("There is no such job any more.")
    return [job.id for job in page.jobs]


def _changed(board: Board, job: JobDetails, form: Form) -> dict[str, Any]:
    given: dict[str, Any] = {
        **{name: form.one(name) for name in ("worker", "queue") if name in form},
        **{name: _whole(form, name) for name in ("priority", "max_attempts") if name in form},
        **{
            name: _json(form, name)
            for name in ("args", "meta")
            if form.one(name).strip() and editable(board, job, name)
        },
    }
    if "tags" in form:
        given["tags"] = [tag for tag in (one.strip() for one in form.one("tags").split(",")) if tag]
    stored: dict[str, Any] = {
        **{name: getattr(job, name) for name in ("worker", "queue", "priority", "max_attempts")},
        **{name: getattr(job, name).value() for name in ("args", "meta") if name in given},
        "tags": list(job.tags),
    }
    changed = {name: value for name, value in given.items() if value != stored[name]}
    if form.one("schedule_in").strip():
        changed["schedule_in"] = _whole(form, "schedule_in")
    return changed


def _whole(form: Form, name: str) -> int:
    text = form.one(name).strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidJob(f"{name} must be a whole number that is not below zero, got {text[:50]!r}")
    return int(text)


def _json(form: Form, name: str) -> Any:
    try:
        return json.loads(form.one(name))
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"{name} must be JSON: {error}") from None
