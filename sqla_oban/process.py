"""The process that all this runs in."""

import contextlib
import os
import socket
from collections.abc import Iterator

from sqla_oban.errors import ConfigurationError


def process_name() -> str:
    """Host and process id: the name of a node that was given none.

    >>> process_name() == f"{socket.gethostname()}.{os.getpid()}"
    True
    """
    return f"{socket.gethostname()}.{os.getpid()}"


_declaring: list[bool] = []


@contextlib.contextmanager
def only_declaring() -> Iterator[None]:
    """While this process imports an application for what it declares."""
    _declaring.append(True)
    try:
        yield
    finally:
        _declaring.pop()


def refuse_while_declaring() -> None:
    """Make sure that a module that is imported for its workers starts no runner, which would import it again.

    Raises:
        ConfigurationError: one is being imported so.
    """
    if _declaring:
        raise ConfigurationError(
            "a process that runs jobs was to start a runner while it imported their workers; put what starts the "
            'runner below `if __name__ == "__main__":`'
        )
