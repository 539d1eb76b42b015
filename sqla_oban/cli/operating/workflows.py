"""`sqla-oban workflows`."""

from functools import partial
from typing import Any

import click
from rich.text import Text

from sqla_oban.cli.operating.client import answer, operating
from sqla_oban.cli.operating.output import Output, console, moment, safe
from sqla_oban.control.watch import workflows as watching
from sqla_oban.control.watch.workflows import WorkflowDetails, WorkflowSummary
from sqla_oban.errors import WorkflowNotFound
from sqla_oban.queries.browse_workflows import MOST_JOBS
from sqla_oban.runner import SqlaOban

HEADINGS = ("id", "name", "state", "ended", "jobs", "stored", "began", "ended at")
MOST_LISTED = 1_000


@click.group()
def workflows() -> None:
    """Look at workflows, and cancel or retry them."""


@workflows.command("list")
@operating
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="How many.")
@click.option("--before", type=click.IntRange(min=1), metavar="ID", help="Older than this one: the last of a page.")
async def list_workflows(oban: SqlaOban, output: Output, *, limit: int, before: int | None) -> None:
    """The newest first; moments are in UTC. Of a workflow 2,000 jobs are counted."""
    page = await answer(oban, partial(watching.workflows, before=before, size=limit))
    if output.as_json:
        output.dump({"workflows": [_fields(one) for one in page.workflows], "before": page.following})
        return
    output.table(HEADINGS, [(one.id, one.name, one.state, *_progress(one)) for one in page.workflows])
    if page.following is not None:
        output.warn(f"there are more: --before {page.following}")


@workflows.command()
@operating
@click.argument("id", type=int)
@click.option("--mermaid", is_flag=True, help="Print its whole graph as a Mermaid flowchart instead.")
async def show(oban: SqlaOban, output: Output, *, id: int, mermaid: bool) -> None:
    """How far a workflow has come, its jobs, and what each of them waits for."""
    if mermaid:
        chart = await oban.workflows.to_mermaid(id)
        output.tell(chart, mermaid=chart)
        return
    found = await answer(oban, partial(watching.details, id=id))
    if found is None:
        raise WorkflowNotFound(f"there is no workflow {id}")
    if output.as_json:
        output.dump({**_fields(found.summary), "steps": found.steps, "edges": found.edges, "cut": found.cut})
    else:
        _show(output, found)


@workflows.command()
@operating
@click.argument("id", type=int)
async def cancel(oban: SqlaOban, output: Output, *, id: int) -> None:
    """Cancel all jobs of a workflow that have not ended; what runs is stopped."""
    _tell(output, id, await oban.workflows.cancel(id), "cancelled")


@workflows.command()
@operating
@click.argument("id", type=int)
async def retry(oban: SqlaOban, output: Output, *, id: int) -> None:
    """Bring back the jobs of a workflow that were cancelled or discarded; they wait for each other as before."""
    _tell(output, id, await oban.workflows.retry(id), "retried")


def _tell(output: Output, id: int, changed: int, past: str) -> None:
    if not changed:
        raise click.ClickException(f"workflow {id} has no job that could be {past}")
    output.tell(f"{changed:,} job{'s' * (changed != 1)} {past}", **{past: changed})


def _show(output: Output, found: WorkflowDetails) -> None:
    told = found.summary
    counts = ", ".join(f"{jobs:,} {state}" for state, jobs in told.jobs.items())
    words = zip(HEADINGS[3:], _progress(told), strict=True)
    for name, value in (("id", told.id), ("name", told.name), ("state", told.state), *words, ("counts", counts)):
        if value not in (None, ""):
            console().print(Text.assemble((f"{name:<10}", "bold"), safe(str(value))), soft_wrap=True)
    names = {step.id: step.name for step in found.steps}
    waits: dict[int, list[str]] = {}
    for one, other in found.edges:
        waits.setdefault(other, []).append(names[one])
    output.table(
        ("job", "name", "state", "worker", "after"),
        ((one.id, one.name, one.state, one.worker, ", ".join(waits.get(one.id, [])) or None) for one in found.steps),
    )
    if found.cut:
        output.warn(f"it is larger: these are its first {MOST_JOBS} jobs by name, and --mermaid prints all")


def _progress(one: WorkflowSummary) -> tuple[str, str, str | None, str | None, str | None]:
    jobs = f"{one.total:,}" if one.exact else f"{one.total:,} and more"
    return f"{one.ended:,}", jobs, moment(one.inserted_at), moment(one.started_at), moment(one.ended_at)


def _fields(one: WorkflowSummary) -> dict[str, Any]:
    names = ("id", "name", "state", "live", "jobs", "total", "ended", "exact", "inserted_at", "started_at", "ended_at")
    return {name: getattr(one, name) for name in names}
