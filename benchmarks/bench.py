"""Runs a scenario: one server, all contenders in turns."""

import re
from collections.abc import Iterable

from benchmarks.contenders import OURS, Entrant
from benchmarks.failure import Unmeasured
from benchmarks.process import Process
from benchmarks.scenario import Lane, Scenario
from benchmarks.server import Server
from benchmarks.table import Table

Described = dict[str, tuple[str, str]]
"""Of each contender by its name: its version, and what it was given."""


class Bench:
    """Measures scenarios one after the other.

    Args:
        only: who is measured, of those that a scenario would measure; None: all.
    """

    def __init__(self, only: Iterable[Entrant] | None = None) -> None:
        self.described: Described = {}
        self._only = None if only is None else {entrant.name for entrant in only}

    def run(self, scenario: Scenario) -> Table:
        """All rounds of a scenario; what fails is left out of further rounds, with its reason in the table."""
        table = Table(scenario.title, scenario.about, scenario.columns(), OURS.name, curves=scenario.curves)
        with Server(scenario.settings) as server:
            lanes = [lane for lane in self._lanes(scenario, server, table) if self._is_set_up(scenario, lane, table)]
            for number in range(scenario.scale.rounds):
                say(f"{scenario.name}: round {number + 1} of {scenario.scale.rounds}")
                lanes = [lane for lane in lanes if self._is_measured(scenario, lane, table)]
        return table

    def _lanes(self, scenario: Scenario, server: Server, table: Table) -> list[Lane]:
        lanes: list[Lane] = []
        for entrant in scenario.contenders:
            if self._only is not None and entrant.name not in self._only:
                continue
            table.contenders.append(entrant.name)
            prepared = slug(entrant.name)
            try:
                server.create(prepared)
                with Process(entrant, server.url(prepared)) as process:
                    about = process.ask("prepare")
            except Unmeasured as reason:
                table.miss(entrant.name, list(table.columns), str(reason))
                continue
            self.described[entrant.name] = (about["version"], about["given"])
            lanes += [
                Lane(server, entrant, variant, slug(f"{entrant.name} in {variant}"), prepared)
                for variant in scenario.variants
            ]
        return sorted(lanes, key=lambda lane: scenario.variants.index(lane.variant))

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


def slug(name: str) -> str:
    """A name that needs no quotes in an address."""
    return re.sub(r"\W+", "_", name).strip("_")


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, flush=True)
