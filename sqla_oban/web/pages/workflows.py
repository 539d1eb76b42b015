"""The workflows, and one with its graph."""

from functools import partial
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from sqla_oban.control.watch.workflows import WorkflowSummary, details, summary
from sqla_oban.control.watch.workflows import workflows as listed
from sqla_oban.errors import InvalidSelection
from sqla_oban.states import JobState
from sqla_oban.web.board import Board
from sqla_oban.web.graph import HEIGHT, WIDTH, drawn
from sqla_oban.web.rendering import View

DIGITS: Final = 19


async def workflows(board: Board, request: Request) -> View:
    """A page of workflows, the newest first."""
    before = _before(request.query_params.get("before"))
    found = await board.ask(listed, before=before)
    return View("workflows.html", "workflows", "Workflows", {"page": found, "first": before is None})


async def workflow(board: Board, request: Request) -> View:
    """How far a workflow has come, and its graph."""
    number = request.path_params["id"]
    found = await board.ask(details, number)
    if found is None:
        raise _missing(number)
    values = {
        "workflow": found.summary,
        "cut": found.cut,
        "drawing": drawn(found.steps, found.edges),
        "box": (WIDTH, HEIGHT),
        "retryable": {JobState.CANCELLED, JobState.DISCARDED} & found.summary.jobs.keys(),
    }
    return View("workflow.html", "workflows", found.summary.name, values)


async def the_workflow(board: Board, request: Request) -> WorkflowSummary:
    """The workflow that an address names, as it is now.

    Raises:
        HTTPException: there is none.
    """
    number = request.path_params["id"]
    found = await board.reader.ask(partial(summary, id=number))
    if found is None:
        raise _missing(number)
    return found


def _before(given: str | None) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= DIGITS):
        raise InvalidSelection("this link to a page leads nowhere; begin with the first one")
    return int(given)


def _missing(number: int) -> HTTPException:
    return HTTPException(404, f"There is no workflow {number}.")
