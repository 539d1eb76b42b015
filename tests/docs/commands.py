"""The lines of a page that a reader would type, parsed by the real commands without running them."""

import contextlib
import copy
import io
import shlex
from collections.abc import Iterator

import click

from sqla_oban.cli.commands import commands
from tests.docs.page import Block

SHELLS = {"sh", "bash", "console"}
ENDS_A_COMMAND = {"|", "||", "&", "&&", ";", ">", ">>", "<"}


def written(block: Block) -> Iterator[tuple[int, list[str]]]:
    """Line and words of each `sqla-oban` command that begins a line of the block."""
    line = block.line
    for command in block.source.replace("\\\n", "\x00").splitlines():
        words = split(command.replace("\x00", " "))
        if words[:1] == ["sqla-oban"]:
            yield line, words[1:]
        line += 1 + command.count("\x00")


def split(command: str) -> list[str]:
    """The words of the first command in a line of shell."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    return words[: next((at for at, word in enumerate(words) if word in ENDS_A_COMMAND), len(words))]


def parse(words: list[str]) -> None:
    """Read the words as `sqla-oban` does, and do nothing.

    Raises:
        click.UsageError: there is no such command, option or value.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        idle(commands).main(words, prog_name="sqla-oban", standalone_mode=False)


def idle(command: click.Command) -> click.Command:
    """The same command, which does nothing."""
    copied = copy.copy(command)
    copied.callback = None
    if isinstance(copied, click.Group):
        copied.commands = {name: idle(one) for name, one in copied.commands.items()}
    return copied
