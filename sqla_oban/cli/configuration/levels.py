"""How much is logged."""

from enum import StrEnum
from typing import Self


class LogLevel(StrEnum):
    """What is too small to be logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """In capitals, as `logging` writes them, they mean the same."""
        named = {level.value: level for level in cls}
        return named.get(value.lower()) if isinstance(value, str) else None
