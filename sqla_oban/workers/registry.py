"""The declared workers by name."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

from sqla_oban.errors import DeclarationError, UnknownWorker
from sqla_oban.models.checks import MAX_NAME
from sqla_oban.workers.definition import Definition


class Registry:
    """Workers by the name that is stored with their jobs.

    Only what was declared by an imported module is found here. A name from the database is never imported: a row
    must not be able to load code.
    """

    def __init__(self) -> None:
        self._definitions: dict[str, Definition] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def definitions(self) -> list[Definition]:
        """All workers that are known."""
        return list(self._definitions.values())

    def add(self, definition: Definition) -> None:
        """Make a worker known. The same declaration once more, as by a reload, replaces itself.

        Raises:
            DeclarationError: another worker has that name.
        """
        known = self._definitions.get(definition.name)
        if known is not None and known.origin != definition.origin:
            raise DeclarationError(
                f"the worker name {definition.name!r} is taken by {' in '.join(reversed(known.origin))}; "
                "give one of them another with name="
            )
        self._definitions[definition.name] = definition

    def get(self, name: str) -> Definition:
        """The worker called `name`.

        Raises:
            UnknownWorker: nothing of that name was declared.
        """
        try:
            return self._definitions[name]
        except KeyError:
            raise UnknownWorker(
                f"no worker is named {name!r} in this process; import the module that declares it before starting"
            ) from None


REGISTRY = Registry()
"""The workers of this process, filled by the decorators."""


MAIN = "__main__"
AS_MAIN = "__mp_main__"
"""What Python calls the main script where a process runs it only to find what it declares."""


def module_of(target: Callable[..., Any]) -> str:
    """The module that declares `target`, by its real name if it was run by `python -m`."""
    module = target.__module__
    if module not in (MAIN, AS_MAIN):
        return module
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return MAIN if spec is None else str(spec.name)


def default_name(target: Callable[..., Any]) -> str:
    """`module.qualname`, with the real name of a module that was run by `python -m`.

    Raises:
        DeclarationError: it is longer than the column allows.
    """
    name = f"{module_of(target)}.{target.__qualname__}"
    if len(name) > MAX_NAME:
        raise DeclarationError(
            f"the worker name {name!r} has more than {MAX_NAME} characters; give it another with name="
        )
    return name


def refuse_unreachable(target: Callable[..., Any], where: str) -> None:
    """Make sure that another process finds `target` by importing its module.

    Raises:
        DeclarationError: it does not.
    """
    if "<locals>" in target.__qualname__:
        raise DeclarationError(
            f"{where} runs with executor='process' and is declared inside a function, where another process does not "
            "find it; declare it at the top of a module"
        )
    if module_of(target) == MAIN and not hasattr(sys.modules[target.__module__], "__file__"):
        raise DeclarationError(
            f"{where} runs with executor='process' and is declared in no file; another process could not import it"
        )


def origin(target: Callable[..., Any]) -> tuple[str, str]:
    """Where `target` is declared: its file and its name."""
    module = sys.modules.get(target.__module__)
    return getattr(module, "__file__", None) or target.__module__, target.__qualname__
