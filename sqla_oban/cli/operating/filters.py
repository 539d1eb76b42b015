"""Which jobs a command is about."""

import functools
import json
from collections.abc import Callable
from typing import Any

import click

from sqla_oban.cli.options import read_by
from sqla_oban.queries.filters import JobFilter, PathFilter
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


def path_filter(written: str) -> PathFilter:
    """What is to be found within a JSON object, as it stands on the command line.

    Raises:
        ValueError: it is none.

    >>> path_filter("user.id:7")
    PathFilter(path=('user', 'id'), value='7')
    """
    path, colon, value = written.partition(":")
    if not (path and colon):
        raise ValueError("it must be a path and a value, as user.id:7")
    return PathFilter(tuple(path.split(".")), value)


def read_each(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[PathFilter, ...]:
    """The callback of an option that takes several."""
    read = read_by(path_filter)
    return tuple(read(context, parameter, one) for one in values)


OPTIONS = (
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice([state.value for state in JobState]),
        help="In this state; this and all that follow may be repeated.",
    ),
    click.option("--queue", "queues", multiple=True, help="Of this queue."),
    click.option("--worker", "workers", multiple=True, help="Of this worker."),
    click.option("--tag", "tags", multiple=True, help="With this tag."),
    click.option("--node", "nodes", multiple=True, help="That this node runs, or ran last."),
    click.option("--priority", "priorities", multiple=True, type=click.IntRange(0, 32_767), help="Of this priority."),
    *(
        click.option(
            f"--{name}",
            multiple=True,
            callback=read_each,
            metavar="PATH:VALUE",
            help=f"With this in their {name}{more}.",
        )
        for name, more in (("args", ", as user.id:7; all that are named"), ("meta", ""))
    ),
)


def filtered(work: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that select jobs; it is called with `which`, a JobFilter."""

    @functools.wraps(work)
    def command(*given: Any, **options: Any) -> Any:
        names = ("queues", "workers", "tags", "nodes", "priorities", "args", "meta")
        conditions = {name: options.pop(name) for name in names}
        states = tuple(JobState(state) for state in options.pop("states"))
        return work(*given, which=JobFilter(states=states, **conditions), **options)

    for option in reversed(OPTIONS):
        command = option(command)
    return command
