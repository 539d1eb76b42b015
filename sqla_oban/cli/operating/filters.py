"""Which jobs a command is about."""

import functools
import json
from collections.abc import Callable
from typing import Any

import click

from sqla_oban.cli.options import read_by
from sqla_oban.control.listing import JobFilter
from sqla_oban.states import JobState


def json_object(written: str) -> dict[str, Any]:
    """A JSON object as it stands on the command line.

    Raises:
        ValueError: it is none.

    >>> json_object('{"order_id": 7}')
    {'order_id': 7}
    """
    try:
        value = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("""it must be a JSON object, as '{"order_id": 7}'""")  # noqa: TRY004 (what is written is wrong)
    return value


OPTIONS = (
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice([state.value for state in JobState]),
        help="In this state; may be repeated, as all that follow but for --node, --priority and --args.",
    ),
    click.option("--queue", "queues", multiple=True, help="Of this queue."),
    click.option("--worker", "workers", multiple=True, help="Of this worker."),
    click.option("--tag", "tags", multiple=True, help="With this tag, and all others that are named."),
    click.option("--node", help="That this node runs, or ran last."),
    click.option("--priority", type=int, help="Of this priority."),
    click.option("--args", callback=read_by(json_object), metavar="JSON", help="With these among their arguments."),
)


def filtered(work: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that select jobs; it is called with `which`, a JobFilter."""

    @functools.wraps(work)
    def command(*given: Any, **options: Any) -> Any:
        names = ("queues", "workers", "tags", "node", "priority", "args")
        conditions = {name: options.pop(name) for name in names}
        states = tuple(JobState(state) for state in options.pop("states"))
        return work(*given, which=JobFilter(states=states, **conditions), **options)

    for option in reversed(OPTIONS):
        command = option(command)
    return command
