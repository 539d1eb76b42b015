"""The sessions in which steering happens: the caller's, or one of their own."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import ORMExecuteState, Session

from sqla_oban.models import JobMixin, table_of

T = TypeVar("T")


PLACED = "sqla_oban_placed"
"""An execution option: the statement names the schema of the jobs itself, and all else in it is the caller's."""


def placed(model: type[JobMixin]) -> dict[str, bool]:
    """The execution options of a statement for a mapped class."""
    return {} if table_of(model).schema is None else {PLACED: True}


class Sessions:
    """Runs verbs that are written for a sync `Session`.

    Args:
        factory: makes the sessions for what is asked outside of any.
        schema: of the tables; None for the search path's.
    """

    def __init__(self, factory: async_sessionmaker[AsyncSession], schema: str | None) -> None:
        self._factory = factory
        self._schema = schema

    async def run(self, work: Callable[[Session], T], session: AsyncSession | None = None) -> T:
        """What `work` returns: in `session`, as part of its transaction, or in a session of its own that commits.

        What a session of its own has loaded is detached and complete.
        """
        if session is not None:
            return await session.run_sync(self._translated, work)
        async with self._factory() as own, own.begin():
            result = await own.run_sync(self._translated, work)
            own.expunge_all()
        return result

    def _translated(self, session: Session, work: Callable[[Session], T]) -> T:
        """Statement by statement, because the caller's own must not be translated, nor those whose class says where."""
        if self._schema is None:
            return work(session)
        event.listen(session, "do_orm_execute", self._translate)
        try:
            return work(session)
        finally:
            event.remove(session, "do_orm_execute", self._translate)

    def _translate(self, state: ORMExecuteState) -> None:
        if not state.execution_options.get(PLACED):
            state.update_execution_options(schema_translate_map={None: self._schema})
