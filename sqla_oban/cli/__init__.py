"""The command line, `sqla-oban`.

It needs click and rich, which an application that only runs jobs does not: they are the extra `cli`.
"""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

EXTRA = ("click", "rich")


def _ask_for_extra() -> NoReturn:
    sys.exit("The sqla-oban command needs click and rich: pip install 'sqla-oban[cli]'")


main: Callable[..., Any]
"""The entry point: the click group, or where the extra is not installed, a function that says so and exits."""

try:
    from sqla_oban.cli.commands import commands
except ModuleNotFoundError as missing:
    if missing.name not in EXTRA:
        raise
    main = _ask_for_extra
else:
    main = commands

__all__ = ["main"]
