"""The event loop that jobs run in."""

import asyncio
import importlib
from enum import StrEnum

from sqla_oban.errors import ConfigurationError


class Loop(StrEnum):
    """A kind of event loop: Python's own, or uvloop's, which is quicker and in C."""

    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"

    def runner(self) -> asyncio.Runner:
        """What runs coroutines in such a loop.

        Raises:
            ConfigurationError: it is not installed.
        """
        if self is Loop.ASYNCIO:
            return asyncio.Runner()
        try:
            uvloop = importlib.import_module("uvloop")  # an extra
        except ImportError:
            raise ConfigurationError("uvloop is not installed; pip install 'sqla-oban[uvloop]'") from None
        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
