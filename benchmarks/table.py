"""What one scenario measured."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.units import Unit

Series = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender's figures in one column."""

    contender: str
    column: str


@dataclass
class Table:
    """All figures of a scenario: a row for each contender, in the order in which they come.

    Args:
        title: what was measured.
        about: how, in a few sentences.
        columns: the unit of each.
        ours: the contender that the others are compared with.
    """

    title: str
    about: str
    columns: Mapping[str, Unit]
    ours: str
    values: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(list))
    reasons: dict[Cell, str] = field(default_factory=dict)
    curves: dict[str, Series] = field(default_factory=dict)
    contenders: list[str] = field(default_factory=list)

    def add(self, contender: str, figures: Mapping[str, float]) -> None:
        """Add what one turn measured."""
        for column, value in figures.items():
            self.values[Cell(contender, column)].append(value)

    def miss(self, contender: str, columns: Sequence[str], reason: str) -> None:
        """Say why there is no figure."""
        for column in columns:
            self.reasons[Cell(contender, column)] = reason

    def median(self, cell: Cell) -> float | None:
        """The median of all turns; None where nothing was measured."""
        values = self.values.get(cell)
        return statistics.median(values) if values else None

    def ratio(self, of: Cell, to: Cell) -> float | None:
        """The median of one cell by that of another."""
        above, below = self.median(of), self.median(to)
        return above / below if above is not None and below else None

    def markdown(self) -> str:
        """The table, with a footnote for each reason."""
        notes: dict[str, list[str]] = {}
        names = list(self.columns)
        lines = [
            "| | " + " | ".join(f"{name}, {unit.heading}" for name, unit in self.columns.items()) + " |",
            "|---|" + "---:|" * len(names),
        ]
        for contender in self.contenders:
            cells = [self._written(Cell(contender, name), notes) for name in names]
            lines.append(f"| {contender} | " + " | ".join(cells) + " |")
        footnotes = [f"{number}. {', '.join(whose)}: {why}" for number, (why, whose) in enumerate(notes.items(), 1)]
        return "\n".join([*lines, "", *footnotes]).rstrip()

    def _written(self, cell: Cell, notes: dict[str, list[str]]) -> str:
        median = self.median(cell)
        if median is None:
            reason = self.reasons.get(cell, "was not asked")
            whose = notes.setdefault(reason, [])
            if cell.contender not in whose:
                whose.append(cell.contender)
            return f"not measured [{list(notes).index(reason) + 1}]"
        ratio = self.ratio(Cell(self.ours, cell.column), cell)
        against = f" ({ratio:.2f}x)" if ratio is not None and cell.contender != self.ours else ""
        return self.columns[cell.column].write(median) + against
