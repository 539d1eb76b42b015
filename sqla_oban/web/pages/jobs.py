"""The jobs of a state, and one job."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from sqla_oban.control.watch.browsing import JobSummary, browse
from sqla_oban.control.watch.counting import count
from sqla_oban.control.watch.details import Document, JobDetails, runs_of, show
from sqla_oban.control.watch.fleet import queues
from sqla_oban.control.watch.search import parsed
from sqla_oban.errors import InvalidSelection
from sqla_oban.outcomes import RESULT
from sqla_oban.queries.browse import WINDOW
from sqla_oban.queries.filters import JobFilter
from sqla_oban.states import RETRYING, UNFINISHED, JobState
from sqla_oban.telemetry.redaction import REDACTED, Redaction, shown
from sqla_oban.web.board import Board
from sqla_oban.web.rendering import View
from sqla_oban.web.words import json_text

SIZE: Final = 30
LONGEST_EXCERPT: Final = 160
STATES: Final = (
    *(JobState.EXECUTING, JobState.AVAILABLE, JobState.SCHEDULED, JobState.RETRYABLE, JobState.SUSPENDED),
    *(JobState.COMPLETED, JobState.CANCELLED, JobState.DISCARDED),
)
WHEN: Final[Mapping[JobState, str]] = {
    JobState.EXECUTING: "attempted_at",
    JobState.COMPLETED: "completed_at",
    JobState.CANCELLED: "cancelled_at",
    JobState.DISCARDED: "discarded_at",
}
"""The moment that a list shows; of all other states, when a job is due."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the list."""

    job: JobSummary
    args: str
    when: float | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A document of a job as it is shown: whole, cut off, or hidden."""

    title: str
    text: str
    note: str = ""


async def jobs(board: Board, request: Request) -> View:
    """A page of jobs, beside how many there are of each state."""
    state = state_of(request.query_params.get("state", ""))
    search = request.query_params.get("q", "")
    wanted = of_state(state, permitted(board, parsed(search)))
    found = await board.ask(browse, wanted, cursor=request.query_params.get("after"), size=SIZE)
    values = {
        "state": state,
        "states": STATES,
        "counts": await board.ask(count),
        "q": search,
        "page": found,
        "window": WINDOW,
        "jobs": [_listed(board, job) for job in found.jobs],
        "first": "after" not in request.query_params,
        "queues": [one.queue for one in await board.ask(queues, name=board.oban.name)],
        "args_hidden": board.args is not shown,
    }
    return View("jobs.html", "jobs", state.value.capitalize() if state else "All jobs", values)


async def job(board: Board, request: Request) -> View:
    """All that is stored of a job."""
    found = await the_job(board, request)
    values = {
        "job": found,
        "documents": _documents(board, found),
        "timeline": _timeline(found),
        "runs": await board.ask(runs_of, found.worker),
        "cancellable": found.state in UNFINISHED and not found.cancel_requested,
        "retryable": found.state in RETRYING,
        "deletable": found.state is not JobState.EXECUTING,
    }
    return View("job.html", "jobs", f"Job {found.id}", values)


async def edit(board: Board, request: Request) -> View:
    """A form for what can be changed of a job that does not run."""
    found = await the_job(board, request)
    values = {"job": found, **{name: editable(board, found, name) for name in ("args", "meta")}}
    return View("edit.html", "jobs", f"Edit job {found.id}", values, live=False)


async def the_job(board: Board, request: Request) -> JobDetails:
    """The job that the address names.

    Raises:
        HTTPException: there is none.
    """
    wanted = int(request.path_params["id"])
    found = await board.ask(show, wanted)
    if found is None:
        raise HTTPException(404, f"There is no job {wanted}. It may have been pruned or deleted.")
    return found


def editable(board: Board, job: JobDetails, name: str) -> str | None:
    """`args` or `meta` to be edited; None where the visitor is not shown all of it, and would overwrite the rest."""
    document: Document = getattr(job, name)
    redaction: Redaction = getattr(board, name)
    try:
        return json_text(document.value()) if redaction is shown else None
    except ValueError:
        return None


def state_of(name: str) -> JobState | None:
    """The state that an address names; None for all of them.

    Raises:
        InvalidSelection: there is no such state.
    """
    if name in ("", "all"):
        return None
    if name not in set(JobState):
        raise InvalidSelection("there is no such state")
    return JobState(name)


def of_state(state: JobState | None, wanted: JobFilter) -> JobFilter:
    """The filter, for the jobs of a state."""
    return wanted if state is None else replace(wanted, states=(state,))


def permitted(board: Board, wanted: JobFilter) -> JobFilter:
    """The filter, unless it would find out by trying what is hidden.

    Raises:
        InvalidSelection: it looks for what is hidden.
    """
    for name in ("args", "meta"):
        if getattr(wanted, name) and getattr(board, name) is not shown:
            raise InvalidSelection(f"{name} are hidden here, and cannot be looked for")
    return wanted


def redacted(redaction: Redaction, value: Any) -> Any:
    """What may be shown of arguments or meta, which may be no object."""
    if redaction is shown:
        return value
    return redaction(value) if isinstance(value, dict) else REDACTED


def _listed(board: Board, job: JobSummary) -> Listed:
    text = "large" if job.args is None else _excerpt(board, job.args)
    return Listed(job, text, job.moments.get(WHEN.get(job.state, "scheduled_at")))


def _excerpt(board: Board, text: str) -> str:
    document = Document(text, len(text))
    if board.args is not shown:
        try:
            text = json_text(redacted(board.args, document.value()))
        except ValueError:
            text = REDACTED
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_EXCERPT else f"{line[:LONGEST_EXCERPT]}…"


def _documents(board: Board, job: JobDetails) -> list[Shown]:
    found = [_shown("Arguments", job.args, board.args)]
    if job.has_result:
        found.append(_result(job.meta, board.meta))
    return [*found, _shown("Meta", job.meta, board.meta)]


def _shown(title: str, document: Document, redaction: Redaction) -> Shown:
    try:
        return Shown(title, json_text(redacted(redaction, document.value())))
    except ValueError as error:
        if redaction is not shown:
            return Shown(title, REDACTED)
        note = f"the first {len(document.text):,} of {document.length:,} characters"
        return Shown(title, document.text, str(error) if document.is_whole else note)


def _result(meta: Document, redaction: Redaction) -> Shown:
    try:
        found = redacted(redaction, meta.value())
    except ValueError:
        return Shown("Result", REDACTED if redaction is not shown else "It is part of the meta below.")
    return Shown("Result", json_text(found.get(RESULT)) if isinstance(found, dict) else REDACTED)


def _timeline(job: JobDetails) -> list[tuple[str, float | None, str]]:
    """The way of a job: each stage, when it was reached, and how it is to look: past, now or next."""
    ended = next((name for name in ("completed", "discarded", "cancelled") if job.state == name), None)
    moments = job.moments
    stages = [("inserted", moments.get("inserted_at"), "past"), ("scheduled", moments.get("scheduled_at"), "past")]
    if "attempted_at" in moments or job.state is JobState.EXECUTING:
        stages.append(("executing", moments.get("attempted_at"), "past"))
    if ended:
        return [*stages, (ended, moments.get(f"{ended}_at"), "now")]
    if job.state is JobState.EXECUTING:
        return [*stages[:-1], ("executing", moments.get("attempted_at"), "now"), ("completed", None, "next")]
    now = (job.state.value, moments.get("scheduled_at"), "now")
    return [one for one in stages if one[0] != "scheduled"] + [now, ("executing", None, "next")]
