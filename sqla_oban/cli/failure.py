"""What went wrong, in the one sentence that a user of the command line gets."""

import contextlib
from collections.abc import Iterator

import asyncpg
import click
from sqlalchemy.exc import SQLAlchemyError

from sqla_oban.errors import ObanError, reason

EXPECTED = (ObanError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError)


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
