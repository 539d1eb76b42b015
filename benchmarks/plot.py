"""Draws what was measured."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.table import Cell, Table

OURS, OTHERS = "#2a6fbb", "#b8c4d0"
WIDTH = 11.0
ROW = 0.22
"""Inches for a bar."""
HEAD = 0.9
"""Inches for a title and an axis."""


def plot(tables: Sequence[Table], picture: Path) -> None:
    """One row of panels for each table, one panel for each column, a bar for each contender; and curves over time."""
    rcParams["svg.hashsalt"] = "sqla_oban"  # the same figures make the same file
    drawn = [table for table in tables if any(table.values.values())]
    if not drawn:
        return
    heights = [HEAD + ROW * len(table.contenders) for table in drawn]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    rows = figure.subfigures(len(drawn), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, table in zip(rows, drawn, strict=True):
        row.suptitle(table.title, fontsize=10, fontweight="bold", x=0.01, ha="left")
        panels = row.subplots(1, len(table.columns) + bool(table.curves), squeeze=False)[0]
        for index, (panel, column) in enumerate(zip(panels, table.columns, strict=False)):
            draw_bars(panel, table, column, named=index == 0)
        if table.curves:
            draw_curves(panels[-1], table)
    figure.savefig(picture, metadata={"Date": None})


def draw_bars(panel: Axes, table: Table, column: str, *, named: bool) -> None:
    """The medians of one column; nothing where there is none."""
    names = table.contenders[::-1]
    medians = [table.median(Cell(name, column)) for name in names]
    lengths = [median or 0 for median in medians]
    bars = panel.barh(names, lengths, color=[OURS if name == table.ours else OTHERS for name in names])
    unit = table.columns[column]
    panel.bar_label(bars, ["-" if median is None else unit.write(median) for median in medians], fontsize=6, padding=2)
    panel.set_title(f"{column}, {unit.heading}", fontsize=7)
    panel.margins(x=0.3)
    panel.tick_params(labelsize=6, labelleft=named)
    panel.spines[["top", "right"]].set_visible(False)


def draw_curves(panel: Axes, table: Table) -> None:
    """What changed over the seconds of a turn."""
    for name, series in table.curves.items():
        seconds, values = zip(*series, strict=True)
        colour = {"color": OURS, "linewidth": 2} if name == table.ours else {"linewidth": 1}
        panel.plot(seconds, values, label=name, **colour)
    panel.set_title("over the seconds", fontsize=7)
    panel.tick_params(labelsize=6)
    panel.legend(fontsize=5)
