"""Sees jobs run."""

import asyncio
import time


class Witness:
    """Notes when each job started, by the wall clock, which all processes of one machine share.

    Args:
        expected: after how many jobs `enough` is set.
    """

    def __init__(self, expected: int | None = None) -> None:
        self.starts: list[tuple[int, float]] = []
        self.enough = asyncio.Event()
        self._expected = expected

    def saw(self, number: int) -> None:
        """Job `number` starts now."""
        self.starts.append((number, time.time()))
        if len(self.starts) == self._expected:
            self.enough.set()

    async def ran(self, number: int, nap: float) -> None:
        """The whole of a job: what every library's worker function awaits."""
        self.saw(number)
        if nap:
            await asyncio.sleep(nap)
