"""The commands of `sqla-oban` as a page shows them: `python -m tests.docs.manual` prints that part of it."""

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Iterator

import click

from sqla_oban.cli.commands import commands

COMMON_FROM = 8
"""From so many commands on that take the same option it is described once."""

Commands = dict[str, click.Command]


def manual() -> str:
    """All commands with their arguments and options."""
    every = dict(walked(commands, "sqla-oban"))
    shared = common(every)
    parts = [section("Common options", rows(shared))]
    parts += [described(name, command, shared) for name, command in every.items()]
    return "\n\n".join(parts)


def walked(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """The commands that do something, by their whole names."""
    if isinstance(command, click.Group):
        for part in sorted(command.commands):
            yield from walked(command.commands[part], f"{name} {part}")
    else:
        yield name, command


def options(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def row(option: click.Option) -> tuple[str, str]:
    """How an option is written, and what it says of itself."""
    written, told = option.get_help_record(click.Context(click.Command("x"))) or ("", "")
    return f"`{written}`".replace("|", "\\|"), told.replace("|", "\\|").replace("<", "&lt;")


def rows(wanted: list[tuple[str, str]]) -> str:
    return "\n".join(["| option | |", "|---|---|", *(f"| {written} | {told} |" for written, told in wanted)])


def common(every: Commands) -> list[tuple[str, str]]:
    numbers = Counter(row(option) for command in every.values() for option in options(command))
    return [one for one, number in numbers.items() if number >= COMMON_FROM]


def section(title: str, text: str) -> str:
    return f"### {title}\n\n{text}"


def described(name: str, command: click.Command, shared: list[tuple[str, str]]) -> str:
    context = click.Context(command)
    arguments = [one.make_metavar(context) for one in command.params if isinstance(one, click.Argument)]
    every = [row(option) for option in options(command)]
    own = [one for one in every if one not in shared]
    taken = ", ".join(f"`{written.strip('`').split()[0]}`" for written, told in every if (written, told) in shared)
    parts = [
        f"```text\n{' '.join([name, *arguments])}\n```" if arguments else "",
        helped(command),
        rows(own) if own else "",
        f"Common options: {taken}." if taken else "",
    ]
    return section(name, "\n\n".join(part for part in parts if part))


def helped(command: click.Command) -> str:
    """What it says of itself; what click is told not to wrap is code."""
    told = inspect.cleandoc(command.help or "")
    return re.sub(r"\x08\n(.*)", lambda kept: textwrap.indent(kept[1], "    "), told, flags=re.DOTALL)


if __name__ == "__main__":
    click.echo(manual())
