"""Note what a transaction has to settle, as its triggers do, and have it settled; see `migrations/notes.py`."""

from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Text, cast, func, literal_column, text

NOTED: Final = ["xid", "workflow_id", "job_id", "rings"]
"""The columns of a note that a statement makes of a workflow's job."""


def xid() -> ColumnElement[int]:
    """The transaction, as it is told by its notes."""
    return cast(cast(func.pg_current_xact_id(), Text), BigInteger)


def is_first() -> ColumnElement[bool]:
    """Of the notes that one statement makes, one has the transaction settle them."""
    return func.row_number().over() == literal_column("1")


SETTLE_NOW: Final = text("SELECT oban_settle()")
"""As the commit does, before it."""
