"""`sqla-oban jobs`."""

import json
from functools import partial
from typing import Any, Final

import click
from rich.text import Text

from sqla_oban.cli.operating.bulk import CANCEL, DELETE, RETRY, Verb, all_of, each
from sqla_oban.cli.operating.client import answer, operating
from sqla_oban.cli.operating.filters import filtered
from sqla_oban.cli.operating.listing import listing, summary
from sqla_oban.cli.operating.output import Output, console, safe
from sqla_oban.cli.operating.resembling import hint
from sqla_oban.control.watch.browsing import browse
from sqla_oban.errors import reason
from sqla_oban.models import Job
from sqla_oban.models.job import COLUMNS
from sqla_oban.queries.browse import WINDOW
from sqla_oban.queries.filters import JobFilter
from sqla_oban.runner import SqlaOban

MOST_LISTED: Final = 1_000


@click.group()
def jobs() -> None:
    """Look at jobs, and retry, cancel or delete them."""


@jobs.command("list")
@operating
@filtered
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="How many.")
@click.option("--after", metavar="PAGE", help="Where the page before said that this one begins.")
async def list_jobs(oban: SqlaOban, output: Output, *, which: JobFilter, limit: int, after: str | None) -> None:
    """The newest jobs first, or those of one state in its order; moments are in UTC.

    One call looks through 10,000 jobs for those that fulfil the options. Where there are more it says so, and what to
    give as --after to go on. With --json args are null where they are larger than 8 kB; `jobs show` has them.
    """
    page = await answer(oban, partial(browse, wanted=which, cursor=after, size=limit))
    if not page.jobs:
        output.hint(await hint(oban, which.workers))
    if output.as_json:
        output.dump({"jobs": [summary(job) for job in page.jobs], "after": page.following, "cut": page.cut})
        return
    screen = console()
    screen.print(listing(page.jobs, screen.width), crop=False)
    if page.following is not None:
        looked = f"{WINDOW:,} jobs were looked at; " if page.cut else ""
        output.warn(f"{looked}there may be more: --after {page.following}")


@jobs.command()
@operating
@click.argument("id", type=int)
async def show(oban: SqlaOban, output: Output, *, id: int) -> None:
    """One job, with its arguments, its result and its errors."""
    try:
        job = await oban.jobs.get(id)
    except (ValueError, OverflowError) as error:  # PostgreSQL stores the year 20000 and numbers of 5,000 digits
        raise click.ClickException(f"job {id} holds a value that Python cannot read: {reason(error)}") from None
    if job is None:
        raise click.ClickException(f"there is no job {id}")
    fields = _fields(job)
    if output.as_json:
        output.dump(fields)
        return
    errors = fields.pop("errors")
    for name, value in fields.items():
        if value not in (None, [], {}):
            told = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            console().print(Text.assemble((f"{name:<15}", "bold"), safe(told)), soft_wrap=True)
    for failure in errors if isinstance(errors, list) else [errors]:
        console().print(Text(f"\n{safe(_told(failure))}"), soft_wrap=True)


def _verb(verb: Verb, words: str) -> None:
    @filtered
    @click.argument("ids", type=int, nargs=-1)
    @click.option("--all", "everything", is_flag=True, help="All jobs, whatever else they are.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    async def command(
        oban: SqlaOban, output: Output, *, ids: tuple[int, ...], which: JobFilter, everything: bool, yes: bool
    ) -> None:
        if sum((bool(ids), not which.is_empty, everything)) != 1:
            raise click.UsageError(f"Say which jobs to {verb.name}: by their ids, by options, or --all.")
        if ids:
            await each(oban.jobs, output, verb, ids)
        else:
            await all_of(oban, output, verb, which, yes=yes)

    jobs.command(verb.name, help=f"{words}\n\nBy ids, or all that fulfil the options; then it asks first.")(
        operating(command)
    )


_verb(RETRY, "Make jobs available again that have ended or wait.")
_verb(CANCEL, "Cancel jobs that have not ended; what runs is stopped.")
_verb(DELETE, "Delete jobs that do not run.")


def _fields(job: Job) -> dict[str, Any]:
    first = ("id", "state", "queue", "worker", "args", "meta")
    return {name: getattr(job, name) for name in (*first, *sorted(COLUMNS - {*first, "errors"}), "errors")}


def _told(error: object) -> str:
    if isinstance(error, dict):
        return f"attempt {error.get('attempt')} at {error.get('at')}:\n{error.get('error')}"
    return str(error)
