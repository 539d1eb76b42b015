"""The runners that a command is for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Runners:
    """Whose queues are meant.

    Args:
        name: the name that the runners share.
        schema: of their tables; None for the search path's.
    """

    name: str = "Oban"
    schema: str | None = None


DEFAULT = Runners()
