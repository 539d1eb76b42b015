"""Hands events to handlers.

A handler is called synchronously, on the thread where the event happened (the runner's loop, the pulse thread or a
job's thread): it should be quick and must be thread-safe. One that raises is logged, and harms neither the job nor
the other handlers.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from sqla_oban.telemetry.events import Event

log = logging.getLogger(__name__)

Handler = Callable[[Any], None]
_handlers: dict[type[Event], tuple[Handler, ...]] = {}
_changing = threading.Lock()


def attach(handler: Handler, *kinds: type[Event]) -> None:
    """Call `handler` with every event of the given kinds, in the order of attachment; `Event` itself means all.

    Attaching the same handler to the same kind again changes nothing.

    >>> from sqla_oban.telemetry.events import JobFinished
    >>> attach(print, JobFinished); detach(print)
    """
    with _changing:
        for kind in kinds:
            if handler not in _handlers.get(kind, ()):
                _handlers[kind] = (*_handlers.get(kind, ()), handler)


def detach(handler: Handler) -> None:
    """Stop calling `handler`; one that is not attached is ignored."""
    with _changing:
        for kind, handlers in _handlers.items():
            _handlers[kind] = tuple(other for other in handlers if other != handler)


def wanted(kind: type[Event]) -> bool:
    """Whether anybody listens to `kind`: lets the hot path skip building events that nobody wants."""
    return bool(_handlers.get(kind) or _handlers.get(Event))


def emit(event: Event) -> None:
    """Hand `event` to every handler attached to its kind."""
    own, general = _handlers.get(type(event), ()), _handlers.get(Event, ())
    for handler in (*own, *(one for one in general if one not in own)):
        try:
            handler(event)
        except Exception:
            log.exception("telemetry handler %r failed on %s", handler, type(event).__name__)
