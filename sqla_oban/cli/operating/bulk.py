"""Do something to many jobs: say to how many, ask, and show how far it has come."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import select

from sqla_oban.cli.operating.client import answer
from sqla_oban.cli.operating.output import Output
from sqla_oban.cli.operating.resembling import hint
from sqla_oban.control.jobs import Jobs
from sqla_oban.control.selection import Selection
from sqla_oban.control.watch.counting import Count, matching
from sqla_oban.control.watch.walking import newest, step
from sqla_oban.queries.filters import JobFilter
from sqla_oban.runner import SqlaOban
from sqla_oban.states import RETRYING, UNFINISHED, JobState

SIZE = 500
"""Jobs to which something is done in one transaction."""


@dataclass(frozen=True, slots=True)
class Verb:
    """Something that can be done to jobs.

    Args:
        name: as it is asked for.
        past: as it is told.
        states: of the jobs to which it can be done.
        act: does it to the jobs that are meant; returns to how many.
    """

    name: str
    past: str
    states: tuple[JobState, ...]
    act: Callable[[Jobs, Selection], Awaitable[int]]

    def narrowed(self, which: JobFilter) -> JobFilter | None:
        """The jobs among them to which it can be done; None if there can be none."""
        states = tuple(state for state in self.states if not which.states or state in which.states)
        return replace(which, states=states) if states else None


RETRY = Verb("retry", "retried", RETRYING, lambda jobs, which: jobs.retry(which))
CANCEL = Verb("cancel", "cancelled", UNFINISHED, lambda jobs, which: jobs.cancel(which))
DELETE = Verb(
    "delete",
    "deleted",
    tuple(state for state in JobState if state is not JobState.EXECUTING),
    lambda jobs, which: jobs.delete(which),
)


async def each(jobs: Jobs, output: Output, verb: Verb, ids: tuple[int, ...]) -> None:
    """Do it to jobs that were named one by one.

    Raises:
        ClickException: it could be done to none of them.
    """
    changed = await verb.act(jobs, list(ids))
    if not changed:
        what = f"there is no job {ids[0]}" if len(ids) == 1 else "there are no such jobs"
        raise click.ClickException(f"{what} that could be {verb.past}")
    output.tell(f"{_jobs(changed)} {verb.past}", **{verb.past: changed})


async def all_of(oban: SqlaOban, output: Output, verb: Verb, which: JobFilter, *, yes: bool) -> None:
    """Do it to all jobs that are meant and are there now, in many short transactions."""
    narrowed = verb.narrowed(which)
    count = None if narrowed is None else await answer(oban, partial(matching, wanted=narrowed))
    if narrowed is None or count is None or count == Count(0):
        output.tell(f"there are no jobs to be {verb.past}", **{verb.past: 0})
        output.hint(await hint(oban, which.workers))
        return
    if not yes:
        _ask(f"{verb.name} {count} job{'s' * (count.jobs != 1)}?", output)
    model, changed = oban.settings.scope.model, 0
    with _progress() as progress:
        task = progress.add_task(verb.past, total=count.jobs)
        async for ids in found(oban, narrowed):
            meant = select(model.id).where(model.id.in_(ids), model.state.in_(narrowed.states))  # still
            changed += await verb.act(oban.jobs, meant)
            progress.advance(task, len(ids))
    output.tell(f"{_jobs(changed)} {verb.past}", **{verb.past: changed})


async def found(oban: SqlaOban, which: JobFilter, *, size: int = SIZE) -> AsyncIterator[list[int]]:
    """The ids of the jobs that are meant and are there now, so many at a time."""
    last: int | None = 0
    upto = await answer(oban, newest)
    while last is not None:
        taken = await answer(oban, partial(step, wanted=which, after=last, upto=upto))
        for begin in range(0, len(taken.ids), size):
            yield list(taken.ids[begin : begin + size])
        last = taken.last


def _ask(question: str, output: Output) -> None:
    """Beside the answer: what is written there may be read by a program."""
    if output.as_json:
        raise click.UsageError(f"--json does not ask: {question} Say --yes.")
    click.confirm(question, abort=True, err=True)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _jobs(number: int) -> str:
    return f"{number:,} job{'s' * (number != 1)}"
