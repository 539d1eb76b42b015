"""What the design asks for, and whether it was met."""

from dataclasses import dataclass

from benchmarks.table import Cell, Table


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a figure of ours, or for its ratio to another figure.

    Args:
        work: what for.
        of: our figure.
        to: the figure that it is divided by; None: it is judged by itself.
        at_least, at_most: the bound, of which there is one.
    """

    work: str
    of: Cell
    to: Cell | None = None
    at_least: float | None = None
    at_most: float | None = None

    def row(self, table: Table) -> str:
        """A line of Markdown: the work, the goal, the figure and the verdict."""
        measured = self.measured(table)
        said = "" if measured is None else f"{measured:,.2f}"
        return f"| {self.work} | {self._bound()} | {said} | {self._verdict(measured)} |"

    def measured(self, table: Table) -> float | None:
        """The figure, or the ratio."""
        return table.median(self.of) if self.to is None else table.ratio(self.of, self.to)

    def is_met(self, measured: float) -> bool:
        """Whether the figure is within the bound."""
        return measured >= self.at_least if self.at_least is not None else measured <= (self.at_most or 0)

    def _verdict(self, measured: float | None) -> str:
        if measured is None:
            return "not measured"
        return "met" if self.is_met(measured) else "**not met**"

    def _bound(self) -> str:
        sign, bound = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most)
        if self.to is None:
            return f"{sign} {bound:g}"
        other = self.to.contender if self.to.contender != self.of.contender else self.to.column
        return f"{sign} {bound:g} x {other}"
