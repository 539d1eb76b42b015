"""The sessions in which steering happens: the caller's, or one of their own."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import ORMExecuteState, Session

from sqla_oban.errors import InvalidArguments, shown
from sqla_oban.models import JobMixin, Scope, table_of

T = TypeVar("T")

READ_COMMITTED = {"isolation_level": "READ COMMITTED"}
"""Whatever the engine's default: a verb locks first and looks then, which takes a transaction, and one that sees what
others committed while it waited."""


PLACED = "sqla_oban_placed"
"""An execution option: the statement names the schema of the jobs itself, and all else in it is the caller's."""


def placed(model: type[JobMixin]) -> dict[str, bool]:
    """The execution options of a statement for a mapped class."""
    return {} if table_of(model).schema is None else {PLACED: True}


class Sessions:
    """Runs verbs that are written for a sync `Session`.

    Args:
        factory: makes the sessions for what is asked outside of any.
        scope: which jobs are steered, and where their table is.
    """

    def __init__(self, factory: async_sessionmaker[AsyncSession], scope: Scope) -> None:
        self._factory = factory
        self._scope = scope

    async def run(self, work: Callable[[Session], T], session: AsyncSession | None = None) -> T:
        """What `work` returns: in `session`, as part of its transaction, or in a session of its own that commits.

        What the caller's session has pending is flushed before: `work` sees it, and loads over nothing that is not
        stored yet. What a session of its own has loaded is detached and complete.

        Raises:
            InvalidArguments: `session` is no AsyncSession.
        """
        if session is not None:
            given = _checked(session)
            await given.flush()
            return await given.run_sync(self._translated, work)
        async with self._factory() as own, own.begin():
            if isinstance(own.get_bind(self._scope.model), Engine):  # a connection has its transaction already
                await own.connection({"mapper": self._scope.model}, READ_COMMITTED)
            result = await own.run_sync(self._translated, work)
            own.expunge_all()
        return result

    def _translated(self, session: Session, work: Callable[[Session], T]) -> T:
        """Statement by statement, because the caller's own must not be translated, nor those whose class says where."""
        if self._scope.schema is None:
            return work(session)
        event.listen(session, "do_orm_execute", self._translate)
        try:
            return work(session)
        finally:
            event.remove(session, "do_orm_execute", self._translate)

    def _translate(self, state: ORMExecuteState) -> None:
        if not state.execution_options.get(PLACED):
            state.update_execution_options(schema_translate_map={None: self._scope.schema})


def _checked(session: Any) -> AsyncSession:
    given = session() if isinstance(session, async_scoped_session) else session
    if not isinstance(given, AsyncSession):
        raise InvalidArguments(f"session must be an AsyncSession, got {shown(given)}")
    return given
