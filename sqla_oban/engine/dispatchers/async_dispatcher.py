"""Runs a worker's call as a task of the event loop."""

from collections.abc import Callable
from typing import Any

from sqla_oban.engine.execution import Execution


class AsyncDispatcher:
    """Awaits the call in the task that asks for it."""

    async def run(self, call: Callable[[], Any], execution: Execution) -> Any:
        """Await what `call` makes."""
        execution.begin()
        return await call()
