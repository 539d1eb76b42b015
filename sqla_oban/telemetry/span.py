"""Spans: something that takes its time, told when it begins and when it ends."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from sqla_oban.process import process_name
from sqla_oban.telemetry.bus import emit
from sqla_oban.telemetry.events import SpanFailed, SpanFinished, SpanStarted


@contextlib.contextmanager
def span(name: str, /, **data: Any) -> Iterator[dict[str, Any]]:
    """Tell that something begins, and that it has ended or failed and how long it took.

    Args:
        name: what it is.
        **data: what is known of it. The block may add to what it is given; the end is told with all of it.

    >>> from sqla_oban.telemetry import attach, detach
    >>> from sqla_oban.telemetry.events import SpanFinished
    >>> ended = []
    >>> attach(ended.append, SpanFinished)
    >>> with span("import", rows=2) as told:
    ...     told["written"] = 1
    >>> detach(ended.append)
    >>> ended[0].name, ended[0].data
    ('import', {'rows': 2, 'written': 1})
    """
    node, began, told = process_name(), time.monotonic(), dict(data)
    emit(SpanStarted(node=node, name=name, data=dict(told)))
    try:
        yield told
    except BaseException as error:
        seconds, kind = time.monotonic() - began, type(error).__qualname__
        emit(SpanFailed(node=node, name=name, data=dict(told), seconds=seconds, kind=kind, message=_told(error)))
        raise
    emit(SpanFinished(node=node, name=name, data=dict(told), seconds=time.monotonic() - began))


def _told(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception is the user's object
        return "an exception that cannot be told"
