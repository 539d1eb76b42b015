"""What went wrong, in the one sentence that a user of the command line gets."""

import contextlib
from collections.abc import Iterator

import asyncpg
import click
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sqla_oban.errors import ObanError

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


def reason(error: BaseException) -> str:
    """The first line of what PostgreSQL or the driver said, without SQLAlchemy's wrapping.

    >>> reason(OSError(111, "Connection refused"))
    '[Errno 111] Connection refused'
    """
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__ or error.orig
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
