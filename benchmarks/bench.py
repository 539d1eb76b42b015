"""Runs scenarios: all contenders in turns on one server."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from benchmarks.contenders import OURS, Entrant
from benchmarks.failure import Unmeasured
from benchmarks.process import Process
from benchmarks.scenario import Lane, Scenario
from benchmarks.server import Server
from benchmarks.table import Table

Described = dict[str, tuple[str, str]]
"""Of each contender by its name: its version, and what it was given."""


MANY = 150
"""After so many databases a new server is started, which frees their disk."""


class Bench:
    """Measures scenarios one after the other; those with the same settings on the same server.

    Args:
        only: who is measured, of those that a scenario would measure.

    >>> with Bench(EVERYONE) as bench:  # doctest: +SKIP
    ...     print(bench.run(Drain(QUICK)).markdown())
    """

    def __init__(self, only: Iterable[Entrant]) -> None:
        self.described: Described = {}
        self._only = {entrant.name for entrant in only}
        self._server: Server | None = None
        self._prepared: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave_server()

    def run(self, scenario: Scenario) -> Table:
        """All rounds of a scenario; what fails is left out of further rounds, with its reason in the table."""
        table = Table(scenario.title, scenario.about, scenario.columns(), OURS.name, curves=scenario.curves)
        lanes = self._lanes(scenario, self._serve(scenario), table)
        lanes = [lane for lane in lanes if self._is_set_up(scenario, lane, table)]
        for number in range(scenario.scale.rounds):
            say(f"{scenario.name}: round {number + 1} of {scenario.scale.rounds}")
            lanes = [lane for lane in lanes if self._is_measured(scenario, lane, table)]
        return table

    def _serve(self, scenario: Scenario) -> Server:
        if self._server is None or self._server.given != scenario.settings or self._server.created > MANY:
            self._leave_server()
            self._server = Server(scenario.settings)
            self._server.__enter__()
        return self._server

    def _leave_server(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            self._prepared = {}
            server.__exit__(None, None, None)

    def _lanes(self, scenario: Scenario, server: Server, table: Table) -> list[Lane]:
        lanes: list[Lane] = []
        for entrant in scenario.contenders:
            if entrant.name not in self._only:
                continue
            table.contenders.append(entrant.name)
            try:
                prepared = self._prepare(entrant, server)
            except Unmeasured as reason:
                table.miss(entrant.name, list(table.columns), str(reason))
            else:
                lanes += [Lane(server, entrant, variant, prepared) for variant in scenario.variants]
        return sorted(lanes, key=lambda lane: scenario.variants.index(lane.variant))

    def _prepare(self, entrant: Entrant, server: Server) -> str:
        """The database with its tables, made once on each server."""
        if entrant.name not in self._prepared:
            say(f"preparing {entrant.name}")
            database = server.create()
            with Process(entrant, server.url(database)) as process:
                about = process.ask("prepare")
            self._prepared[entrant.name] = database
            self.described[entrant.name] = (about["version"], about["given"])
        return self._prepared[entrant.name]

    def _is_set_up(self, scenario: Scenario, lane: Lane, table: Table) -> bool:
        try:
            scenario.set_up(lane)
        except Unmeasured as reason:
            table.miss(lane.entrant.name, scenario.columns_of(lane.variant), str(reason))
            return False
        return True

    def _is_measured(self, scenario: Scenario, lane: Lane, table: Table) -> bool:
        try:
            figures = scenario.measure(lane)
        except Unmeasured as reason:
            say(f"  {lane.entrant.name} {lane.variant}: {reason}")
            table.miss(lane.entrant.name, scenario.columns_of(lane.variant), str(reason))
            return False
        table.add(lane.entrant.name, figures)
        said = ", ".join(f"{column} {table.columns[column].write(value)}" for column, value in figures.items())
        say(f"  {lane.entrant.name}: {said}")
        return True


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, flush=True)
