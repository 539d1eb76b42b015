"""What a command says: to people as words and tables, to programs as one JSON object."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 400
"""Characters of a line that goes into a pipe, where nothing is to be cut."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where the answer of a command goes.

    Args:
        as_json: whether it is for a program.
    """

    as_json: bool

    def tell(self, words: str, **data: Any) -> None:
        """Say how it ended: `words` to people, `data` to programs."""
        if self.as_json:
            self.dump(data)
        else:
            click.echo(safe(words))

    def dump(self, data: object) -> None:
        """Print one JSON object."""
        click.echo(json.dumps(data, default=_plain, indent=2))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows below their headings."""
        console().print(table(columns, rows))

    def warn(self, words: str) -> None:
        """Say to people what may surprise them, beside the answer."""
        click.echo(safe(words), err=True)

    def hint(self, words: str | None) -> None:
        """Warn, if there is something to say."""
        if words is not None:
            self.warn(words)


def console() -> Console:
    """Standard output, as wide as the terminal that it is."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """Rows below their headings; None is shown as a dash, and nothing is taken for markup."""
    made = Table(*columns, box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for row in rows:
        made.add_row(*(Text("-" if cell is None else safe(str(cell))) for cell in row))
    return made


def moment(seconds: float | None) -> str | None:
    """Seconds since 1970 as they are read, in UTC; there are moments that Python does not know.

    >>> moment(0.0), moment(1e20), moment(None)
    ('1970-01-01 00:00:00', 'beyond the calendar', None)
    """
    if seconds is None:
        return None
    then = at(seconds)
    return "beyond the calendar" if then is None else f"{then:%Y-%m-%d %H:%M:%S}"


def at(seconds: float) -> datetime | None:
    """The moment in UTC that is so many seconds after 1970; None where Python's calendar does not have it."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def safe(text: str) -> str:
    """`text` without what a terminal would obey: anybody may have written it.

    >>> safe("red: \\x1b[31m")
    'red: \\ufffd[31m'
    """
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
