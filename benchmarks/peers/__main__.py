"""`python -m benchmarks.peers NAME URL [OPTION ...]`: a contender's process."""

import asyncio
import importlib
import os
import sys

from benchmarks.peers.contender import Contender
from benchmarks.peers.conversation import Conversation


def main() -> None:
    """Answer on what was standard output; whatever else is written there goes to standard error."""
    name, url, *options = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    contender: Contender = importlib.import_module(f"benchmarks.peers.{name}").contender(url, *options)
    asyncio.run(Conversation(contender, answers).hold())
    os._exit(0)  # a library's threads may not hold up the end


if __name__ == "__main__":
    main()
