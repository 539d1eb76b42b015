"""Numbers, spans and moments as people read them."""

import json
import math
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def number(value: float) -> str:
    """A count, short.

    >>> number(999), number(12_345), number(9_876_543)
    ('999', '12.3k', '9.9M')
    """
    for size, unit in ((1_000_000, "M"), (10_000, "k")):
        if value >= size:
            shown = value / (1_000 if unit == "k" else size)
            return f"{shown:.0f}{unit}" if shown >= 100 else f"{shown:.1f}{unit}"
    return f"{value:,.0f}"


def span(seconds: float | None) -> str:
    """How long something takes.

    >>> span(0.0042), span(1.5), span(75), span(7_300), span(None)
    ('4.2 ms', '1.5 s', '1m 15s', '2h 1m', '-')
    """
    if seconds is None or math.isnan(seconds):
        return "-"
    if math.isinf(seconds):
        return "for ever"
    if seconds < 60:
        return f"{seconds * 1_000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
    for (size, unit), (smaller, next_unit) in pairwise(UNITS):
        if seconds >= size:
            rest = int(seconds % size) // smaller
            return f"{int(seconds) // size}{unit}" + (f" {rest}{next_unit}" if rest else "")
    return f"{seconds:.0f} s"


def ago(moment: float | None, now: float) -> str:
    """When something was or will be.

    >>> ago(100, 160), ago(160, 100), ago(100, 100.5), ago(None, 0)
    ('1m ago', 'in 1m', 'now', '-')
    """
    if moment is None:
        return "-"
    difference = moment - now
    if abs(difference) < 1:
        return "now"
    told = span(math.floor(abs(difference)))
    return f"in {told}" if difference > 0 else f"{told} ago"


def moment(seconds: float | None) -> str:
    """A moment in UTC; PostgreSQL knows some that Python does not.

    >>> moment(0), moment(float("inf"))
    ('1970-01-01 00:00:00', 'never')
    """
    if seconds is None:
        return "-"
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return "never" if math.isinf(seconds) else f"{seconds / 31_556_952 + 1970:,.0f} A.D."


def clock(seconds: float) -> str:
    """The time of day, in UTC.

    >>> clock(3_600)
    '01:00'
    """
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M}"


def json_text(value: Any) -> str:
    """JSON, laid out to be read.

    >>> json_text({"a": 1})
    '{\\n  "a": 1\\n}'
    """
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def short_worker(name: str) -> str:
    """A worker's name without its package.

    >>> short_worker("shop.mail.send_receipt")
    'send_receipt'
    """
    return name.rpartition(".")[2] or name
