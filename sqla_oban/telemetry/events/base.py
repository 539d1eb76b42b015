"""What all events have in common."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events carry: the `node` of the runner where it happened."""

    node: str
