"""`sqla-oban queues`."""

from collections.abc import Iterator, Sequence
from typing import Any

import click

from sqla_oban.cli.operating.client import operating
from sqla_oban.cli.operating.limits import global_limit, rate_limit, written
from sqla_oban.cli.operating.output import Output
from sqla_oban.control.queue_info import QueueInfo
from sqla_oban.control.watch.depths import Depth
from sqla_oban.queries.queues import EVERY_QUEUE
from sqla_oban.runner import SqlaOban
from sqla_oban.states import JobState

HEADINGS = (
    *("queue", "node", "limit", "global", "rate", "running", "state"),
    *("available", "scheduled", "retryable", "lag"),
)

node_option = click.option("--node", help="On this node only; default: on all of them.")


@click.group()
def queues() -> None:
    """Look at queues, and pause, resume or scale them."""


@queues.command("list")
@operating
async def list_queues(oban: SqlaOban, output: Output) -> None:
    """What each queue does on each node, and what there is to do; lag is how long the oldest job has been due."""
    running, depths = await oban.queues.check_all(everywhere=True), await oban.queues.depths()
    if output.as_json:
        output.dump({"queues": running, "depths": depths})
    else:
        output.table(HEADINGS, rows(running, depths))


@queues.command()
@operating
@click.argument("queue")
@node_option
async def pause(oban: SqlaOban, output: Output, *, queue: str, node: str | None) -> None:
    """Claim no more jobs of QUEUE, or of every one if it is "*"; those that run go on."""
    await oban.queues.pause(queue, node=node)
    await _told(oban, output, queue, node, "paused")


@queues.command()
@operating
@click.argument("queue")
@node_option
async def resume(oban: SqlaOban, output: Output, *, queue: str, node: str | None) -> None:
    """Claim jobs of QUEUE again, or of every one if it is "*"."""
    await oban.queues.resume(queue, node=node)
    await _told(oban, output, queue, node, "resumed")


@queues.command()
@operating
@click.argument("queue")
@click.argument("limit", type=click.IntRange(min=1), required=False)
@click.option("--global-limit", type=global_limit, metavar="N|none", help="How many run on all nodes together.")
@click.option(
    *("--rate", "rate_limit"),
    type=rate_limit,
    metavar="N/SECONDS|none",
    help="How many start within a time on all nodes.",
)
@node_option
async def scale(oban: SqlaOban, output: Output, *, queue: str, node: str | None, **limits: Any) -> None:
    """Run up to LIMIT jobs of QUEUE at the same time, on each node, and keep limits over all of them."""
    await oban.queues.scale(queue, node=node, **limits)
    await _told(oban, output, queue, node, "scaled")


def rows(running: Sequence[QueueInfo], depths: Sequence[Depth]) -> Iterator[tuple[object, ...]]:
    """A row for each queue on each node, and for each that has jobs to do and no node."""
    by_queue = {depth.queue: depth for depth in depths}
    for info in running:
        state = "paused" if info.paused else "running"
        depth = by_queue.get(info.queue, Depth(queue=info.queue, counts={}, lag=0.0))
        limits = info.limit, info.global_limit, written(info.rate_limit)
        yield info.queue, info.node, *limits, len(info.running), state, *_to_do(depth)
    for queue in sorted(by_queue.keys() - {info.queue for info in running}):
        yield queue, None, None, None, None, None, "no node", *_to_do(by_queue[queue])


def _to_do(depth: Depth) -> tuple[object, ...]:
    states = (JobState.AVAILABLE, JobState.SCHEDULED, JobState.RETRYABLE)
    return *(depth.count(state) for state in states), f"{depth.lag:,.1f} s"


async def _told(oban: SqlaOban, output: Output, queue: str, node: str | None, how: str) -> None:
    """It is kept in the database, so it is no error if nobody is there yet whom it concerns; but it may be a slip."""
    concerned = [
        info.node
        for info in await oban.queues.check_all(everywhere=True)
        if queue in (EVERY_QUEUE, info.queue) and node in (None, info.node)
    ]
    if not concerned:
        output.warn(f"no node runs {_named(queue)}{f' as {node}' if node else ''} now; it holds for those that will")
    where = f" on {node}" if node else ""
    output.tell(f"{_named(queue)} {how}{where}", queue=queue, node=node, nodes=sorted(set(concerned)))


def _named(queue: str) -> str:
    return "every queue" if queue == EVERY_QUEUE else f"queue {queue}"
