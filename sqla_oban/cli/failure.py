"""What went wrong, in the one sentence that a user of the command line gets."""

import contextlib
from collections.abc import Iterator

import click

from sqla_oban.doctor.asking import EXPECTED
from sqla_oban.errors import reason


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """End the command with one sentence where the library or the database refuses; anything else is a bug of ours.

    Raises:
        ClickException: instead of what was raised within.
    """
    try:
        yield
    except EXPECTED as error:
        raise click.ClickException(reason(error)) from None
