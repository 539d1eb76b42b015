"""Carries something from who enqueues a job to who runs it, in the job's `meta`."""

import threading
from collections.abc import Mapping
from typing import Any, Protocol


class Carrier(Protocol):
    """Is asked about each job that is about to be inserted, and told when it was.

    Both are called within the flush, or within `insert_all`, on the thread of whoever enqueues. They must not raise.
    """

    def sending(self, job: Any) -> Mapping[str, Any]:
        """What is to be added to the job's `meta`; nothing, and nothing is written."""

    def sent(self, job: Any) -> None:
        """The job has its id; its transaction may still be rolled back."""


_carriers: tuple[Carrier, ...] = ()
_changing = threading.Lock()


def carriers() -> tuple[Carrier, ...]:
    """Those that are attached."""
    return _carriers


def attach_carrier(carrier: Carrier) -> None:
    """Ask `carrier` about every job from now on."""
    global _carriers  # noqa: PLW0603 (one for the process, as the handlers of events)
    with _changing:
        if carrier not in _carriers:
            _carriers = (*_carriers, carrier)


def detach_carrier(carrier: Carrier) -> None:
    """Ask it no longer; one that is not attached is ignored."""
    global _carriers  # noqa: PLW0603 (likewise)
    with _changing:
        _carriers = tuple(other for other in _carriers if other is not carrier)
