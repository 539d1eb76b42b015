"""Writes what was measured as Markdown, with a plot beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Described
from benchmarks.goal import Goal
from benchmarks.plot import plot
from benchmarks.server import SETTINGS
from benchmarks.table import Table


@dataclass(frozen=True, slots=True)
class Section:
    """One scenario's part of the report."""

    table: Table
    goals: Sequence[Goal]


@dataclass
class Report:
    """The whole of a run.

    Args:
        command: how to run it again.
        machine: what it ran on.
        rounds: of how many turns the figures are medians.
        described: each contender's version and settings.
        sections: a scenario each.
    """

    command: str
    machine: Sequence[str]
    rounds: int
    described: Described
    sections: list[Section]

    def write(self, out: Path) -> None:
        """Write the Markdown to `out`, and the plot beside it."""
        picture = out.with_suffix(".svg")
        out.parent.mkdir(parents=True, exist_ok=True)
        plot([section.table for section in self.sections], picture)
        out.write_text("\n".join(self._lines(picture.name)) + "\n")

    def _lines(self, picture: str) -> Iterator[str]:
        yield "# Benchmarks"
        yield ""
        yield from self._preface()
        yield from self._goals()
        yield f"![The medians of all scenarios as bars]({picture})"
        for section in self.sections:
            yield from ["", f"## {section.table.title}", "", section.table.about, "", section.table.markdown()]
        yield from self._given()

    def _preface(self) -> Iterator[str]:
        settings = ", ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
        turns = "is of a single turn" if self.rounds == 1 else f"is the median of {self.rounds} turns"
        yield f"Written by `{self.command}`. Run it on your machine: figures of two machines cannot be compared."
        yield ""
        yield from (f"- {line}" for line in self.machine)
        yield f"- durable: `fsync`, `full_page_writes` and `synchronous_commit` on; {settings}"
        yield ""
        yield (
            f"All contenders run on one server, in turns; each figure {turns}. In parentheses: sqla_oban's figure "
            "divided by the contender's. ↑: more is better; ↓: less is. What each was given stands at the end."
        )
        yield ""

    def _goals(self) -> Iterator[str]:
        goals = [(section, goal) for section in self.sections for goal in section.goals]
        if goals:
            yield from ["## Goals", "", "| work | goal | measured | |", "|---|---|---:|---|"]
            yield from (goal.row(section.table) for section, goal in goals)
            yield ""

    def _given(self) -> Iterator[str]:
        yield from ["", "## What each was given", ""]
        for name, (version, given) in self.described.items():
            yield f"- **{name}** ({version}): {given}"
