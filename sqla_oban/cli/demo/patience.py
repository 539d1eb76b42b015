"""How long the demonstration waits for what it promised."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

GLANCE = 0.05
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Patience:
    """A deadline for each wait.

    Args:
        seconds: how long one may take.
    """

    seconds: float

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        """Look until `condition` holds or patience ends, at least once; says whether it held."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.seconds
        while not await condition():
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(GLANCE)
        return True
