"""Writing a job's outcome in the transaction of its work."""

from typing import Any

from sqlalchemy.orm import Session

from sqla_oban.errors import ClaimLost, ConfigurationError
from sqla_oban.queries.ack import SETTLE, Ack, parameters


def refuse_autocommit(session: Session) -> None:
    """Make sure that there is a transaction for the outcome to be part of.

    Raises:
        ConfigurationError: each statement of the session is committed by itself.
    """
    connection = session.connection(bind_arguments={"clause": SETTLE}).connection.dbapi_connection
    if getattr(connection, "autocommit", False):
        raise ConfigurationError(
            "the outcome of a job cannot commit with a session in AUTOCOMMIT, which commits each statement by itself; "
            "give the worker a session of an engine without isolation_level='AUTOCOMMIT'"
        )


def settle(session: Session, ack: Ack, schema: str | None) -> None:
    """Write how an execution ended, as part of the session's transaction.

    Exactly once: the outcome is fenced by state and claim, as every acknowledgement is, and the row stays locked until
    the transaction ends. Either both commit, or neither: a job that was rescued or ended meanwhile is found so here,
    and one that is to be rescued now is passed over as locked.

    Raises:
        ClaimLost: the job is no longer this execution's; the transaction must be rolled back.
        ConfigurationError: there is no transaction.
    """
    refuse_autocommit(session)
    session.flush()
    options: dict[str, Any] = {"schema_translate_map": {None: schema}} if schema else {}
    written = session.execute(SETTLE, parameters([ack]), execution_options=options).all()
    if not written:
        raise ClaimLost(
            f"job {ack.id} has ended or was given to another meanwhile; this transaction must not be committed"
        )
