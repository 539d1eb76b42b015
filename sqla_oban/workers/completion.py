"""Writing a job's outcome in the transaction of its work."""

from contextlib import nullcontext
from typing import Any
from weakref import WeakSet

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from sqla_oban.errors import ClaimLost, ConfigurationError
from sqla_oban.queries.ack import SETTLE, Ack, parameters
from sqla_oban.queries.expressions import JOBS

_transactional: WeakSet[Engine] = WeakSet()
"""Engines whose sessions are known to have transactions."""


def refuse_autocommit(session: Session) -> None:
    """Make sure that there is a transaction for the outcome to be part of.

    It looks at a connection of the session's engine, once an engine, and gives it back: the session is to take its own
    when the work needs it, which may be much later.

    Raises:
        ConfigurationError: each statement of the session is committed by itself.
    """
    bind = session.get_bind(clause=JOBS)
    if bind in _transactional:
        return
    with bind.connect() if isinstance(bind, Engine) else nullcontext(bind) as connection:
        if getattr(connection.connection.dbapi_connection, "autocommit", False):
            raise ConfigurationError(
                "the outcome of a job cannot commit with a session in AUTOCOMMIT, which commits each statement by "
                "itself; give the worker a session of an engine without isolation_level='AUTOCOMMIT'"
            )
    if isinstance(bind, Engine):
        _transactional.add(bind)


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
