"""Jobs as a list shows them: to people one line each, to programs as objects."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from sqla_oban.cli.operating.output import at, moment, safe
from sqla_oban.control.watch.browsing import JobSummary
from sqla_oban.queries.browse import MOMENTS
from sqla_oban.states import JobState

ROOMY: Final = 120
"""Characters of a line from which on there is room for the node and whole moments."""
MOST_SHOWN: Final = 200
"""Characters of a job's arguments in a table."""
LEAST_SHOWN: Final = 12
"""Characters of them where a line has no room left: then it is longer than the terminal is wide."""
EDGES: Final = 2
GAP: Final = 2
"""Characters around the table, and between two of its columns."""
WITH_ERROR: Final = (JobState.RETRYABLE, JobState.DISCARDED, JobState.CANCELLED)


def listing(jobs: Sequence[JobSummary], width: int) -> Table:
    """A line for each job, of which only the end is ever cut: the arguments, or what the last error says.

    Args:
        jobs: in their order.
        width: characters that fit into a line.
    """
    roomy = width >= ROOMY
    headings = ("id", "state", "queue", "worker", "attempt", "scheduled", *(("node",) if roomy else ()))
    rows = [[safe(cell) for cell in _cells(job, roomy=roomy)] for job in jobs]
    widths = [max(map(cell_len, cells)) for cells in zip(headings, *rows, strict=True)]
    least = EDGES + sum(widths) + GAP * len(widths) + LEAST_SHOWN
    made = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, width=least if least > width else None)
    for heading, wide in zip(headings, widths, strict=True):
        made.add_column(heading, no_wrap=True, width=wide)
    made.add_column("args")  # rich takes room only from a column that may be wrapped
    for job, row in zip(jobs, rows, strict=True):
        made.add_row(*map(Text, row), _end(job))
    return made


def summary(job: JobSummary) -> dict[str, Any]:
    """A job in a list, for programs: as `jobs show --json` has it, as far as the list knows it."""
    fields = {name: value for name, value in asdict(job).items() if name not in ("moments", "now")}
    return {**fields, "args": _read(job.args), **{name: _exact(job.moments.get(name)) for name in MOMENTS}}


def _cells(job: JobSummary, *, roomy: bool) -> tuple[str, ...]:
    due = job.moments.get("scheduled_at")
    when = moment(due) if roomy else _brief(due, job.now)
    node = (job.node or "-",) if roomy else ()
    return str(job.id), job.state, job.queue, job.worker, f"{job.attempt}/{job.max_attempts}", when or "-", *node


def _end(job: JobSummary) -> Text:
    error = job.error if job.state in WITH_ERROR else None
    told = error or job.args or "(large)"
    words = told if len(told) <= MOST_SHOWN else f"{told[:MOST_SHOWN]}…"
    return Text(safe(words), style="red" if error else "", no_wrap=True, overflow="ellipsis")


def _brief(seconds: float | None, now: float) -> str | None:
    """A moment as short as it is clear now: the time of today, the day and the time of this year, else the day."""
    then, today = None if seconds is None else at(seconds), at(now)
    if then is None or today is None:
        return moment(seconds)
    if then.date() == today.date():
        return f"{then:%H:%M:%S}"
    return f"{then:%m-%d %H:%M}" if then.year == today.year else f"{then:%Y-%m-%d}"


def _exact(seconds: float | None) -> str | None:
    then = None if seconds is None else at(seconds)
    return moment(seconds) if then is None else then.isoformat()


def _read(args: str | None) -> object:
    """The arguments; None where they are too long for a list, and as they are written where Python cannot read them."""
    try:
        return None if args is None else json.loads(args)
    except (ValueError, RecursionError):  # PostgreSQL stores numbers of 5,000 digits
        return args
