from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.control.watch.reader import Reader
from sqla_oban.models import Scope
from tests.queries.conftest import undisturbed

__all__ = ["undisturbed"]  # a fixture


@pytest.fixture
def reader(engine: AsyncEngine) -> Reader:
    return Reader(engine, Scope(), timeout=30)


@pytest.fixture
def ask(reader: Reader) -> Callable[..., Any]:
    """Asks a question with its arguments."""

    async def asked(question: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return await reader.ask(lambda session: question(session, *arguments, **options))

    return asked
