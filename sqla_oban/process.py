"""The process that all this runs in."""

import os
import socket


def process_name() -> str:
    """Host and process id: the name of a node that was given none.

    >>> process_name() == f"{socket.gethostname()}.{os.getpid()}"
    True
    """
    return f"{socket.gethostname()}.{os.getpid()}"
