"""Asks questions that PostgreSQL may refuse to answer at length."""

from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.control.missing import mismatch
from sqla_oban.errors import TooSlow
from sqla_oban.models import Scope
from sqla_oban.queries.bounds import PATIENCE, bounds

T = TypeVar("T")

TIMED_OUT: Final = "57014"


class Reader:
    """Runs questions that are written for a sync `Session`, each in a transaction of its own.

    The transaction can write nothing, and no statement of it may take longer than `timeout`, so that a question that
    turns out to be expensive holds up neither the vacuum nor whoever needs the server.

    Args:
        engine: where to ask; a connection of its pool is taken for as long as a question takes.
        scope: where the tables are.
        timeout: seconds that a statement may take.
    """

    def __init__(self, engine: AsyncEngine, scope: Scope, *, timeout: float = PATIENCE) -> None:
        self._engine = engine
        self._schema = scope.schema
        self._options = {
            "isolation_level": "READ COMMITTED",  # with an engine in AUTOCOMMIT, there would be no transaction
            **({} if scope.schema is None else {"schema_translate_map": {None: scope.schema}}),
        }
        self._timeout = timeout

    async def ask(self, question: Callable[[Session], T]) -> T:
        """What `question` returns.

        Raises:
            TooSlow: a statement of it took longer than it may.
            SchemaMismatch: the tables are missing, or of another version.
        """
        try:
            async with AsyncSession(self._engine) as session, session.begin():
                await session.connection(execution_options=self._options)
                await session.execute(bounds(self._timeout))
                return await session.run_sync(question)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == TIMED_OUT:
                raise TooSlow(
                    f"PostgreSQL took longer than {self._timeout:g} seconds; ask for less, or raise the timeout"
                ) from None
            if (why := await mismatch(error, self._engine, self._schema)) is not None:
                raise why from None
            raise
