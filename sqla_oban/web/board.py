"""What all pages of one dashboard have in common."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from sqla_oban.control.watch.reader import Reader
from sqla_oban.runner import SqlaOban
from sqla_oban.telemetry.redaction import Redaction
from sqla_oban.web.actions import Authorize, User
from sqla_oban.web.shared import Shared

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard's settings, and its way to the database.

    Attributes:
        leaving: set when the server is about to end.
    """

    oban: SqlaOban
    reader: Reader
    shared: Shared
    authorize: Authorize
    user: User
    args: Redaction
    meta: Redaction
    refresh: float
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, question: Callable[..., T], *arguments: Hashable, **options: Hashable) -> T:
        """The answer to a question of `control.watch`, from the database or from a moment ago."""
        key = (question, arguments, tuple(sorted(options.items())))
        return await self.shared.get(key, lambda: self._asked(question, arguments, options))

    async def _asked(self, question: Callable[..., T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        def asked(session: Session) -> T:
            return question(session, *arguments, **options)

        return await self.reader.ask(asked)
