"""What an error of the database is about: the connection, a row, or the values that were sent."""

from sqlalchemy.exc import DBAPIError, StatementError

CONNECTION_LOST = ("08", "57P")
"""SQLSTATE classes (PostgreSQL, appendix A) of a connection that is gone: connection exceptions and shutdowns."""
TROUBLE = (*CONNECTION_LOST, "25", "40", "42", "53", "57", "58", "XX")
"""Those of trouble that has nothing to do with a single row."""
BAD_DATA = ("22", "23")
"""Those of values that are out of range or against a constraint."""


def is_bad_data(error: Exception) -> bool:
    """Whether a statement failed because of the values it carried, so that trying it again would fail again."""
    if isinstance(_cause(error), TypeError | ValueError):  # they were not even sent
        return True
    return is_usable_after(error) and (sqlstate(error) or "").startswith(BAD_DATA)


def concerns_a_row(error: Exception) -> bool:
    """Whether a statement may have failed because of one of its rows: its values, a lock, a trigger of the user's."""
    return is_bad_data(error) or (is_usable_after(error) and not (sqlstate(error) or "").startswith(TROUBLE))


def is_usable_after(error: BaseException) -> bool:
    """Whether a connection still works after `error`: PostgreSQL answered, and did not close the connection.

    Judged by the SQLSTATE as well: SQLAlchemy 2.0 does not recognise all of asyncpg's words for a closed connection.
    """
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return False
    state = sqlstate(error)
    return state is not None and not state.startswith(CONNECTION_LOST)


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code for what went wrong, if it said one."""
    state = getattr(_cause(error), "sqlstate", None)
    return state if isinstance(state, str) else None


def _cause(error: BaseException) -> BaseException:
    """The driver's error, which SQLAlchemy wraps."""
    return (error.orig or error) if isinstance(error, StatementError) else error
