"""`sqla-oban top`."""

import asyncio
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from sqla_oban.cli.operating.client import answer, operating
from sqla_oban.cli.operating.listing import summary
from sqla_oban.cli.operating.output import Output, console, moment, safe, table
from sqla_oban.cli.operating.queues import HEADINGS, rows
from sqla_oban.control.queue_info import QueueInfo
from sqla_oban.control.watch.browsing import JobSummary, browse
from sqla_oban.control.watch.depths import Depth
from sqla_oban.engine.interrupts import until_asked
from sqla_oban.queries.filters import JobFilter
from sqla_oban.runner import SqlaOban
from sqla_oban.states import JobState

MOST = 15
"""Jobs of each list on the screen."""
JOBS = ("id", "queue", "worker", "attempt", "node", "since")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is to see at a moment."""

    queues: list[QueueInfo]
    depths: list[Depth]
    executing: tuple[JobSummary, ...]
    failing: tuple[JobSummary, ...]

    @classmethod
    async def taken(cls, oban: SqlaOban) -> "Snapshot":
        """As it is now."""
        return cls(
            queues=await oban.queues.check_all(everywhere=True),
            depths=await oban.queues.depths(),
            executing=await _some(oban, JobState.EXECUTING),
            failing=await _some(oban, JobState.RETRYABLE),
        )

    def fields(self) -> dict[str, Any]:
        """The same, for programs."""
        return {
            "queues": self.queues,
            "depths": self.depths,
            "executing": [summary(job) for job in self.executing],
            "failing": [summary(job) for job in self.failing],
        }

    def shown(self) -> RenderableType:
        """As it looks on a screen."""
        nodes = {info.node for info in self.queues}
        running = sum(len(info.running) for info in self.queues)
        return Group(
            Text(safe(f"{len(nodes)} node{'s' * (len(nodes) != 1)}, {running} running"), style="bold"),
            table(HEADINGS, rows(self.queues, self.depths)),
            table(JOBS, map(_row, self.executing), title="running"),
            table(JOBS, map(_row, self.failing), title="to be tried again"),
        )


@click.command()
@operating
@click.option("--interval", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Show it once, and end; --json does so too.")
async def top(oban: SqlaOban, output: Output, *, interval: float, once: bool) -> None:
    """Watch queues, running jobs and failures, until Ctrl-C."""
    snapshot = await Snapshot.taken(oban)
    if output.as_json:
        output.dump(snapshot.fields())
    elif once:
        console().print(snapshot.shown())
    else:
        await until_asked(_watch(oban, snapshot, interval))


async def _watch(oban: SqlaOban, snapshot: Snapshot, interval: float) -> None:
    """On a screen, or where there is none, one after the other."""
    if not sys.stdout.isatty():
        while True:
            console().print(snapshot.shown())
            sys.stdout.flush()
            await asyncio.sleep(interval)
            snapshot = await Snapshot.taken(oban)
    with Live(snapshot.shown(), console=console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(snapshot.shown(), refresh=True)
            await asyncio.sleep(interval)
            snapshot = await Snapshot.taken(oban)


async def _some(oban: SqlaOban, state: JobState) -> tuple[JobSummary, ...]:
    return (await answer(oban, partial(browse, wanted=JobFilter(states=(state,)), size=MOST))).jobs


def _row(job: JobSummary) -> tuple[object, ...]:
    since = moment(job.moments.get("attempted_at", job.moments.get("scheduled_at")))
    return job.id, job.queue, job.worker, f"{job.attempt}/{job.max_attempts}", job.node, since
