"""A page of the documentation, and how its blocks of Python are run.

Own code, because Sybil and pytest-examples run each block as an item of its own: a page here is one program with
`await` at its top level, in one event loop.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import ModuleType

from _pytest.assertion.rewrite import rewrite_asserts

FENCE = re.compile(r"^ *(?P<fence>`{3,}|~{3,}) *(?P<language>[\w-]*)")
HIDDEN = re.compile(r"^<!-- ?python *$")


@dataclass(frozen=True)
class Block:
    """Lines of code in a page; `line` is that of the first one, from 1."""

    language: str
    source: str
    line: int


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page, and the hidden ones of Python, in their order.

    Raises:
        ValueError: a block does not end.
    """
    lines = path.read_text().splitlines()
    place = 0
    while place < len(lines):
        if fence := FENCE.match(lines[place]):
            language, closing = fence["language"], re.compile(rf"^ *{fence['fence']} *$")
        elif HIDDEN.match(lines[place]):
            language, closing = "python", re.compile(r"^-->$")
        else:
            place += 1
            continue
        end = next((at for at in range(place + 1, len(lines)) if closing.match(lines[at])), None)
        if end is None:
            raise ValueError(f"{path}:{place + 1}: a block begins that does not end")
        yield Block(language, dedent("\n".join(lines[place + 1 : end])), place + 2)
        place = end + 1


async def run(block: Block, path: Path, module: ModuleType) -> None:
    """Execute a block in `module`. What it raises points to its line in the page."""
    tree = ast.parse(block.source, str(path))
    rewrite_asserts(tree, block.source.encode(), str(path))  # so that an assert tells what it compared
    ast.increment_lineno(tree, block.line - 1)
    code = compile(tree, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    awaited = eval(code, vars(module))
    if inspect.iscoroutine(awaited):
        await awaited
