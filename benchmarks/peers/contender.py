"""What every library that is measured can be asked to do."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import psycopg

from benchmarks.peers.witness import Witness


class Missing(Exception):
    """This library cannot do what was asked; the message says why, for the table."""


class Contender(ABC):
    """One library on a database of its own.

    Args:
        url: a libpq address of the database.
        options: what the list of contenders says of this one, as the driver.
    """

    given = ""
    """The settings it was given, for the report; they are the best that its documentation names."""

    def __init__(self, url: str, *options: str) -> None:
        self.url = url
        self.options = options
        self._sql: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    @property
    @abstractmethod
    def version(self) -> str:
        """The library and its version."""

    @abstractmethod
    async def prepare(self) -> None:
        """Make the tables."""

    @abstractmethod
    async def fill(self, jobs: int, nap: float) -> None:
        """Put in jobs that each take `nap` seconds, quickly: this is never measured."""

    async def keep(self, jobs: int) -> None:
        """Put in jobs that have ended already, as many days leave them behind."""
        raise Missing("keeps no jobs that have ended")

    @abstractmethod
    def work(self, concurrency: int, witness: Witness) -> AbstractAsyncContextManager[None]:
        """Run jobs within the context, and tell the witness of each as it starts."""

    @abstractmethod
    async def is_finished(self) -> bool:
        """Whether no job waits or runs, by the tables."""

    @abstractmethod
    async def connect(self, connections: int) -> None:
        """Get ready to put in jobs by that many connections."""

    @abstractmethod
    async def add(self, number: int) -> None:
        """Put in one job and commit."""

    @abstractmethod
    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        """Make many jobs; to await what this returns puts them in and commits, by the quickest way there is."""

    @abstractmethod
    async def add_at(self, number: int, due: float) -> None:
        """Put in one job that is due at a moment of the wall clock, and commit."""

    def burn(self, jobs: int, concurrency: int, witness: Witness) -> AbstractAsyncContextManager[None]:
        """Run jobs that keep a core busy, in processes; the witness is told of each as it ends."""
        raise Missing("runs no jobs in processes")

    async def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement on a connection apart, for what is not measured, and return its rows."""
        if self._sql is None:
            self._sql = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        done = await self._sql.execute(statement.encode(), values or None)
        return await done.fetchall() if done.description else []
