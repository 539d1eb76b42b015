"""For structlog: the fields of an event as fields of the log's entry."""

from collections.abc import MutableMapping
from typing import Any


def structured(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog's that lifts the fields of our events into the entry.

    To be put before the renderer, among the processors of `structlog.stdlib.ProcessorFormatter`. Other entries pass as
    they are; what an entry says already stays.

    >>> structured(None, "", {"event": "a line", "sqla_oban": {"event": "job_failed", "id": 7}})
    {'event': 'job_failed', 'id': 7}
    """
    fields = entry.pop("sqla_oban", None) or getattr(entry.get("_record"), "sqla_oban", None)
    if isinstance(fields, dict):
        for name, value in fields.items():
            if name == "event" or name not in entry:
                entry[name] = value
    return entry
