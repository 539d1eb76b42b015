"""`sqla-oban demo`."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from sqla_oban.cli.address import EXAMPLE
from sqla_oban.cli.configuration import configured
from sqla_oban.cli.demo.ground import found
from sqla_oban.cli.demo.log import Log
from sqla_oban.cli.demo.patience import Patience
from sqla_oban.cli.demo.play import play
from sqla_oban.cli.demo.screen import Screen
from sqla_oban.cli.demo.steps import STEPS
from sqla_oban.cli.demo.terminal import Terminal
from sqla_oban.cli.failure import explained
from sqla_oban.cli.options import config_option


@click.command()
@click.option(
    "--url",
    help=f"A database to use, as {EXAMPLE}; everything happens in a new schema sqla_oban_demo_<random>, which is "
    "dropped at the end. Default: the one of the settings, else a temporary PostgreSQL server.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=15.0,
    show_default=True,
    help="Seconds that each step has to show what it should.",
)
@config_option
def demo(file: Path | None, url: str | None, patience: float) -> None:
    """See what the queue does, in half a minute, on a real PostgreSQL with real processes.

    Exits with 1 if something could not be shown.
    """
    with explained():
        address = configured(file, url=url).url
        with _ended_like_ctrl_c(), _screen() as screen, found(address, screen) as ground:
            shown = asyncio.run(play(ground, screen, Patience(patience)))
    sys.exit(0 if shown else 1)


def _screen() -> Screen:
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return Terminal([step.lesson for step in STEPS])
    return Log()


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Have `kill` and a closed terminal end the demonstration as Ctrl-C does: in order, with nothing left.

    Where they are ignored, as under nohup, they stay ignored.
    """
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """What Ctrl-C does at this moment, which asyncio changes; a shell has jobs in the background ignore that one."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)
