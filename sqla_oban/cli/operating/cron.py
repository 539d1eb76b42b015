"""`sqla-oban cron`."""

from datetime import UTC, datetime
from typing import Any

import click

from sqla_oban.cli.operating.client import operating
from sqla_oban.cli.operating.filters import json_object
from sqla_oban.cli.operating.output import Output
from sqla_oban.cli.options import read_by
from sqla_oban.errors import InvalidSchedule
from sqla_oban.models import Cron
from sqla_oban.runner import SqlaOban
from sqla_oban.workers.options import JobDefaults
from sqla_oban.workers.registry import REGISTRY
from sqla_oban.workers.schedule import Missed, Schedule

HEADINGS = ("name", "expression", "time zone", "worker", "queue", "state", "next", "last")


@click.group()
def cron() -> None:
    """Look at the crontab; add, pause, resume or remove entries."""


@cron.command("list")
@operating
async def list_entries(oban: SqlaOban, output: Output) -> None:
    """All entries; of those that stand in code, the ones that a leader has seen. Moments are in UTC."""
    zone = oban.settings.scheduler.timezone
    entries = [(entry, _following(entry, zone)) for entry in await oban.crons.all()]
    if output.as_json:
        output.dump({"entries": [_fields(entry, following) for entry, following in entries]})
        return
    output.table(
        HEADINGS,
        (
            (
                *(entry.name, entry.expression, entry.timezone or zone, entry.worker, entry.queue),
                *(_state(entry), _moment(following), _moment(entry.last_tick)),
            )
            for entry, following in entries
        ),
    )


@cron.command()
@operating
@click.argument("name")
@click.argument("expression")
@click.argument("worker")
@click.option("--args", callback=read_by(json_object), metavar="JSON", help="What the worker is called with.")
@click.option("--queue", help="Where its jobs go; default: where the worker's go, if --app or --import declares it.")
@click.option("--priority", type=int, help="Of its jobs; 0 runs first.")
@click.option("--max-attempts", type=int, help="How often each may be tried.")
@click.option("--tag", "tags", multiple=True, help="Of its jobs; may be repeated.")
@click.option("--timezone", help="As Europe/Berlin; default: the scheduler's.")
@click.option("--missed", type=click.Choice([one.value for one in Missed]), default="latest", show_default=True)
async def add(oban: SqlaOban, output: Output, *, name: str, expression: str, worker: str, **options: Any) -> None:
    """Make a job of WORKER again and again, as EXPRESSION says; its first tick is the next one."""
    when = {"timezone": options.pop("timezone"), "missed": options.pop("missed")}
    args = options.pop("args") or {}
    given = {option: value for option, value in options.items() if value not in (None, ())}
    job = _defaults(worker).with_options({"model": oban.settings.scope.model, **given}, "cron add").make(worker, args)
    entry = await oban.crons.create(name, expression, job, **when)
    following = _following(entry, oban.settings.scheduler.timezone)
    output.tell(f"{entry.name} is added; its next tick is {_moment(following)}", **_fields(entry, following))


@cron.command()
@operating
@click.argument("name")
async def pause(oban: SqlaOban, output: Output, *, name: str) -> None:
    """Let an entry make no jobs until it is resumed; also one that stands in code."""
    await oban.crons.pause(name)
    output.tell(f"{name} is paused", name=name, paused=True)


@cron.command()
@operating
@click.argument("name")
async def resume(oban: SqlaOban, output: Output, *, name: str) -> None:
    """Let a paused entry make jobs from now on."""
    await oban.crons.resume(name)
    output.tell(f"{name} is resumed", name=name, paused=False)


@cron.command()
@operating
@click.argument("name")
async def remove(oban: SqlaOban, output: Output, *, name: str) -> None:
    """Remove an entry that was added; jobs that it has made stay."""
    await oban.crons.delete(name)
    output.tell(f"{name} is removed", name=name, removed=True)


def _defaults(worker: str) -> JobDefaults:
    """What the worker says of its jobs, where it is declared here; it need not be."""
    return REGISTRY.get(worker).defaults if worker in set(REGISTRY) else JobDefaults()


def _following(entry: Cron, zone: str) -> datetime | None:
    try:
        return Schedule(entry.expression, entry.timezone, entry.missed).following(datetime.now(UTC), zone)
    except InvalidSchedule:  # anybody may have written it
        return None


def _state(entry: Cron) -> str:
    where = "code" if entry.declared else "added"
    return f"{where}, paused" if entry.paused else where


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _fields(entry: Cron, following: datetime | None) -> dict[str, Any]:
    names = (
        *("name", "expression", "timezone", "missed", "worker", "args", "queue", "priority", "max_attempts"),
        *("tags", "meta", "declared", "paused", "last_tick"),
    )
    return {**{name: getattr(entry, name) for name in names}, "next_tick": following}
