"""What all dispatchers have in common."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol

from sqla_oban.engine.execution import Execution
from sqla_oban.errors import DeclarationError

LAST_WORDS = 1.0
"""Seconds that a thread or a process has to end by itself after it was told to stop."""


class Dispatcher(Protocol):
    """Runs calls.

    The contract, which a test suite checks for each kind: the call's result is returned and its exception raised;
    context variables of the caller are visible to it, as far as it runs in the same process; when the awaiting task is
    cancelled, the call is told so, as far as its kind allows, and its result still counts if it ends at once.
    """

    async def run(self, call: Callable[[], Any], execution: Execution) -> Any:
        """Run `call` and return its result, after telling `execution` that its work begins.

        Args:
            call: does the work.
            execution: what it is the work of.
        """


def awaited_by_nobody(result: object) -> object:
    """What a sync worker returned.

    Raises:
        DeclarationError: it is a coroutine, that nobody would ever await.
    """
    if inspect.iscoroutine(result):
        result.close()
        raise DeclarationError("a sync worker returned a coroutine: declare it with `async def`")
    return result
