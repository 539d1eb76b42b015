"""One step of the demonstration: something is done, and the database is asked what came of it."""

from abc import ABC, abstractmethod
from typing import ClassVar

from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban.cli.demo.fleet import Fleet
from sqla_oban.cli.demo.patience import Patience
from sqla_oban.cli.demo.screen import Lesson, Screen


class Step(ABC):
    """What is promised, what is done, what is seen.

    Args:
        fleet: the nodes that run jobs.
        screen: told what the step does.
        patience: how long to wait for something to happen.
    """

    lesson: ClassVar[Lesson]

    def __init__(self, fleet: Fleet, screen: Screen, patience: Patience) -> None:
        self._fleet = fleet
        self._screen = screen
        self._patience = patience

    @abstractmethod
    async def act(self) -> None:
        """Do what the lesson is about."""

    @abstractmethod
    async def read(self, session: AsyncSession) -> str:
        """What the database says now, in the words of the lesson's `expected`; asked again until it says that."""
