"""Examples in docstrings, as Markdown shows them: `>>>` means three quotations there."""

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^([ \t]*)>>> .*(?:\n\1\S.*)*", re.MULTILINE)
DIRECTIVE = re.compile(r" *# doctest:.*")


def fenced(docstring: str) -> str:
    r"""The docstring with its examples as blocks of code.

    >>> fenced("Adds.\n\n>>> add(1, 1)  # doctest: +SKIP\n2\n\nMore.")
    'Adds.\n\n```pycon\n>>> add(1, 1)\n2\n```\n\nMore.'
    """
    return EXAMPLE.sub(lambda found: f"{found[1]}```pycon\n{DIRECTIVE.sub('', found[0])}\n{found[1]}```", docstring)


class Doctests(Extension):
    """Rewrites the docstrings that mkdocstrings renders."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called with each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
