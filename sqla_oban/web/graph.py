"""The graph of a workflow as SVG without a style or a script: boxes in columns, each job behind all it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqla_oban.control.watch.workflows import Step

WIDTH: Final = 190
"""Of a box."""

HEIGHT: Final = 30
ACROSS: Final = 70
"""Between two columns."""

DOWN: Final = 12
LONGEST: Final = 25
"""Characters of a name that fit into a box."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a job is drawn, and what is written into it."""

    step: Step
    x: int
    y: int
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph; `lines` is the path of all edges."""

    width: int
    height: int
    boxes: Sequence[Box]
    lines: str


def drawn(steps: Sequence[Step], edges: Sequence[tuple[int, int]]) -> Drawing:
    """The graph of the jobs `steps`, whose ids `edges` names."""
    columns: dict[int, list[Step]] = {}
    places = _columns([step.id for step in steps], edges)
    for step in steps:
        columns.setdefault(places[step.id], []).append(step)
    boxes = {
        step.id: Box(step, number * (WIDTH + ACROSS), row * (HEIGHT + DOWN), _label(step.name))
        for number, column in columns.items()
        for row, step in enumerate(column)
    }
    width = (max(columns, default=0) + 1) * (WIDTH + ACROSS) - ACROSS
    height = max(map(len, columns.values()), default=1) * (HEIGHT + DOWN) - DOWN
    lines = " ".join(_line(boxes[one], boxes[other]) for one, other in edges)
    return Drawing(width, height, list(boxes.values()), lines)


def _columns(ids: Sequence[int], edges: Sequence[tuple[int, int]]) -> dict[int, int]:
    """How many jobs at the most are on a way to each; where anybody has written a circle, it is cut open."""
    waiting = dict.fromkeys(ids, 0)
    behind: dict[int, list[int]] = {one: [] for one in ids}
    for one, other in edges:
        waiting[other] += 1
        behind[one].append(other)
    places = dict.fromkeys(ids, 0)
    free = [one for one in ids if not waiting[one]]
    for one in free:
        for other in behind[one]:
            places[other] = max(places[other], places[one] + 1)
            waiting[other] -= 1
            if not waiting[other]:
                free.append(other)
    return places


def _line(one: Box, other: Box) -> str:
    x, y, to_x, to_y = one.x + WIDTH, one.y + HEIGHT // 2, other.x, other.y + HEIGHT // 2
    middle = (x + to_x) // 2
    return f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}"


def _label(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
