"""Answers that several viewers get from one question."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

MOST: Final = 256
"""Answers that are kept."""

REST: Final = 10
"""An answer is good for so many times as long as it took: watching costs PostgreSQL a tenth of a core at the most."""


class Shared:
    """Keeps answers for a while, and lets those wait who ask for one that is on its way.

    Args:
        lifetime: seconds that an answer is good for at least.
    """

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._answers: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}

    async def get(self, key: Hashable, question: Callable[[], Awaitable[T]], *, lifetime: float = 0.0) -> T:
        """The answer to the question that `key` stands for, good for `lifetime` seconds if that is longer."""
        now = asyncio.get_running_loop().time()
        until, task = self._answers.get(key, (0.0, None))
        if task is None or until < now or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._ask(key, question, lifetime))
            self._answers.pop(key, None)
            self._answers[key] = (float("inf"), task)
            while len(self._answers) > MOST:
                self._answers.pop(next(iter(self._answers)))
        return cast(T, await asyncio.shield(task))  # whoever goes away leaves the others their answer

    def forget(self) -> None:
        """Ask everything anew: something was changed."""
        self._answers.clear()

    async def _ask(self, key: Hashable, question: Callable[[], Awaitable[T]], lifetime: float) -> T:
        clock = asyncio.get_running_loop().time
        began = clock()
        answer = await question()
        if key in self._answers and self._answers[key][1] is asyncio.current_task():
            good_for = max(self._lifetime, lifetime, REST * (clock() - began))
            self._answers[key] = (clock() + good_for, self._answers[key][1])
        return answer
