"""Charts as SVG: geometry in a box that the page stretches, without a style or a script.

Text is laid beside the box by the template, because it must not be stretched with it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqla_oban.control.watch.activity import Activity, Bucket
from sqla_oban.states import JobState
from sqla_oban.web.words import clock, number, span

WIDTH: Final = 600.0
HEIGHT: Final = 150.0
GAP: Final = 0.16
"""Of a bar's room."""

STACK: Final = (JobState.COMPLETED, JobState.RETRYABLE, JobState.DISCARDED, JobState.CANCELLED)
LABELS: Final = {
    JobState.COMPLETED: "completed",
    JobState.RETRYABLE: "to be retried",
    JobState.DISCARDED: "discarded",
    JobState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Rect:
    """A bar, of a series that the stylesheet colours by its name."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line through the points of a path, and the area below it."""

    series: str
    path: str
    area: str


@dataclass(frozen=True, slots=True)
class Slot:
    """The room of a bucket, and what is said of it to whoever points at it."""

    x: float
    width: float
    tip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart with its axes.

    Attributes:
        ticks: the labels of the vertical axis, from the top.
        times: those of the horizontal one, from the left.
        unknown: up to where nothing is known, from the left; 0 where all is.
        empty: what is to be said instead, where there is nothing to show.
    """

    title: str
    series: Sequence[tuple[str, str]]
    ticks: Sequence[str]
    times: Sequence[str]
    slots: Sequence[Slot]
    bars: Sequence[Rect] = ()
    lines: Sequence[Line] = ()
    unknown: float = 0.0
    empty: str = ""


def throughput(activity: Activity) -> Chart:
    """How many jobs ended in each bucket, and how."""
    top = _top(max((sum(one.jobs.values()) for one in activity.buckets), default=0), whole=True)
    bars = [rect for place, one in enumerate(activity.buckets) for rect in _stack(place, one, activity, top)]
    return _chart(
        "Throughput",
        activity,
        [(state, LABELS[state]) for state in STACK],
        top,
        number,
        lambda one: (
            ", ".join(f"{one.jobs[state]:,} {LABELS[state]}" for state in STACK if one.jobs[state]) or "nothing"
        ),
        bars=bars,
        empty="" if bars else "Nothing has ended in this time.",
    )


def percentiles(activity: Activity, field: str, title: str) -> Chart:
    """`waited` or `ran` of the jobs that were completed in each bucket."""
    found = [getattr(one, field) for one in activity.buckets]
    top = _top(max((one.p99 for one in found if one), default=0.0))
    names = ("p99", "p95", "p50")
    lines = [_line(name, [getattr(one, name) if one else None for one in found], top) for name in names]

    def tip(one: Bucket) -> str:
        values = getattr(one, field)
        return ", ".join(f"{name} {span(getattr(values, name))}" for name in names) if values else "nothing completed"

    empty = "" if any(found) else "Nothing was completed in this time."
    return _chart(title, activity, [(name, name) for name in names], top, span, tip, lines=lines, empty=empty)


def backlog(activity: Activity) -> Chart:
    """How many jobs waited at the end of each bucket."""
    depths = [one.backlog for one in activity.buckets]
    known = [depth for depth in depths if depth is not None]
    top = _top(max(known, default=0), whole=True)
    empty = "" if known else "More jobs wait than are read to draw how it came to that."
    return _chart(
        "Waiting",
        activity,
        [("available", "due and not yet running")],
        top,
        number,
        lambda one: "not known" if one.backlog is None else f"{one.backlog:,} waiting",
        lines=[_line("available", depths, top)],
        empty=empty,
    )


def _chart(
    title: str,
    activity: Activity,
    series: Sequence[tuple[str, str]],
    top: float,
    told: Callable[[float], str],
    tip: Callable[[Bucket], str],
    *,
    bars: Sequence[Rect] = (),
    lines: Sequence[Line] = (),
    empty: str = "",
) -> Chart:
    buckets = activity.buckets
    room = WIDTH / max(len(buckets), 1)
    seconds = activity.width < 60
    slots = [
        Slot(_rounded(place * room), _rounded(room), f"{_time(one.start, seconds=seconds)}  {tip(one)}")
        for place, one in enumerate(buckets)
    ]
    marks = [buckets[round(part * (len(buckets) - 1) / 4)] for part in range(5)] if buckets else []
    return Chart(
        title=title,
        series=series,
        ticks=[told(top), told(top / 2), "0"],
        times=[clock(one.start) for one in marks],
        slots=slots,
        bars=bars,
        lines=lines,
        unknown=_rounded(room * sum(not one.known for one in buckets)),
        empty=empty,
    )


def _time(start: float, *, seconds: bool) -> str:
    return f"{clock(start)}:{int(start) % 60:02}" if seconds else clock(start)


def _stack(place: int, bucket: Bucket, activity: Activity, top: float) -> list[Rect]:
    room = WIDTH / len(activity.buckets)
    found, y = [], HEIGHT
    for state in STACK:
        if jobs := bucket.jobs[state]:
            height = max(jobs / top * HEIGHT, 1.0)  # one among thousands is seen as well
            y -= height
            found.append(Rect(state, *map(_rounded, (place * room + room * GAP / 2, y, room * (1 - GAP), height))))
    return found


def _line(series: str, values: Sequence[float | None], top: float) -> Line:
    """Broken where there is no value, for between two known ones anything may have been."""
    room = WIDTH / max(len(values), 1)
    path, area = [], []
    points: list[tuple[float, float]] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            points.append((_rounded((place + 0.5) * room), _rounded(HEIGHT - value / top * HEIGHT)))
        elif points:
            if len(points) == 1:  # a point by itself would not be seen
                (x, y), half = points[0], room / 3
                points = [(_rounded(x - half), y), (_rounded(x + half), y)]
            traced = " L".join(f"{x} {y}" for x, y in points)
            path.append(f"M{traced}")
            area.append(f"M{points[0][0]} {HEIGHT} L{traced} L{points[-1][0]} {HEIGHT} Z")
            points = []
    return Line(series, " ".join(path), " ".join(area))


def _top(value: float, *, whole: bool = False) -> float:
    """The end of an axis: a round number that is not below `value`.

    >>> _top(7), _top(130), _top(0.0031), _top(0, whole=True)
    (8.0, 200.0, 0.004, 2.0)
    """
    least = 2.0 if whole else 1e-3
    if value <= least:
        return least
    size = 10.0 ** math.floor(math.log10(value))
    return float(next(_rounded(step * size, 9) for step in (1, 2, 4, 5, 8, 10) if _rounded(step * size, 9) >= value))


def _rounded(value: float, digits: int = 2) -> float:
    return round(value, digits)
