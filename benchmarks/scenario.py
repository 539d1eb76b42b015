"""What is measured of every contender in turn."""

import contextlib
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from benchmarks.contenders import EVERYONE, OURS, Entrant
from benchmarks.goal import Goal
from benchmarks.process import Process
from benchmarks.scale import Scale
from benchmarks.server import Server
from benchmarks.table import Cell, Series
from benchmarks.units import Unit


@dataclass(slots=True)
class Lane:
    """A contender under one of a scenario's circumstances, on a database of its own.

    Args:
        prepared: the database with empty tables that a fresh one is a copy of.
    """

    server: Server
    entrant: Entrant
    variant: str
    prepared: str
    database: str = ""

    def refresh(self) -> None:
        """Go on in a new database, with empty tables."""
        self.database = self.server.create(like=self.prepared)

    @contextlib.contextmanager
    def process(self, *options: str) -> Iterator[Process]:
        """A process of the contender's on the database, with more options than it has."""
        entrant = replace(self.entrant, options=(*self.entrant.options, *options))
        with Process(entrant, self.server.url(self.database)) as process:
            yield process

    @contextlib.contextmanager
    def filled_process(self, jobs: int, *options: str) -> Iterator[Process]:
        """A process with more options that finds so many jobs more, on a server that has settled."""
        with self.process(*options) as process:
            self._fill(process, jobs, 0)
            yield process

    def fill(self, jobs: int, *, nap: float = 0) -> None:
        """Put in jobs that each take `nap` seconds, by a process that leaves no trace in another's memory."""
        with self.process() as process:
            self._fill(process, jobs, nap)

    def _fill(self, process: Process, jobs: int, nap: float) -> None:
        process.ask("fill", within=jobs / 1000, jobs=jobs, nap=nap)
        self.server.settle(self.database)


class Scenario(ABC):
    """Measured in turns: in each round, every contender under every variant, one after the other."""

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    settings: ClassVar[Mapping[str, str]] = {}
    """Settings of the server."""
    contenders: ClassVar[Sequence[Entrant]] = EVERYONE

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.curves: dict[str, Series] = {}

    @property
    def variants(self) -> Sequence[str]:
        """The circumstances under which each contender is measured."""
        return ("",)

    @abstractmethod
    def columns(self) -> Mapping[str, Unit]:
        """What is measured."""

    def columns_of(self, variant: str) -> Sequence[str]:
        """Which of the columns a variant fills: the one of its name, or all."""
        return [variant] if variant in self.columns() else list(self.columns())

    def goals(self) -> Sequence[Goal]:
        """What the design asks for."""
        return ()

    def set_up(self, lane: Lane) -> None:
        """What is done once, before the first round."""
        lane.refresh()

    @abstractmethod
    def measure(self, lane: Lane) -> Mapping[str, float]:
        """One turn: figures by column."""


def ours(column: str) -> Cell:
    """Our figure in a column."""
    return Cell(OURS.name, column)


def rate(answer: Mapping[str, float]) -> float:
    """Jobs a second."""
    return answer["jobs"] / answer["seconds"]


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which `percent` of the values are."""
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
