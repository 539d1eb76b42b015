"""What runs when a job does: a function with its arguments, or a class's `process` with the job."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sqla_oban.models import JobMixin
from sqla_oban.workers.arguments import Arguments
from sqla_oban.workers.parameters import Parameters, provided_besides

MakeJob = Callable[[], JobMixin]
"""Builds the mapped object of the running job; called only by workers that want it, because it takes its time."""


class Body(Protocol):
    """What runs when a job does."""

    @property
    def parameters(self) -> Parameters:
        """What it takes; looked at when first needed, since annotations may name classes that are defined later."""

    def encode(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, any of them, as they are stored; raises InvalidArguments where one does not fit."""

    def decode(self, stored: object) -> dict[str, Any]:
        """The arguments by name; raises InvalidArguments where they do not fit."""

    def bound(self, values: dict[str, Any], make_job: MakeJob) -> Callable[..., Any]:
        """The call, which lacks only what is provided, by keyword."""


class FunctionBody:
    """A function, called with the stored arguments."""

    def __init__(self, function: Callable[..., Any], arguments: Arguments) -> None:
        self._function = function
        self._arguments = arguments

    @property
    def parameters(self) -> Parameters:
        """What it takes."""
        return self._arguments.parameters

    def encode(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Each as its parameter stores it."""
        return self._arguments.encode(args)

    def decode(self, stored: object) -> dict[str, Any]:
        """The arguments by name."""
        return self._arguments.decode(stored)

    def bound(self, values: dict[str, Any], make_job: MakeJob) -> Callable[..., Any]:
        """The function with its arguments."""
        positional, keywords = self._arguments.split(values)
        return functools.partial(self._function, *positional, **keywords)


class ClassBody:
    """A class, made anew for each execution, whose `process` is called with the job."""

    def __init__(self, cls: type[Any], name: str) -> None:
        self._class = cls
        self._name = name

    @functools.cached_property
    def parameters(self) -> Parameters:
        """What `process` takes besides the job.

        Raises:
            DeclarationError: an annotation cannot be understood, or a parameter not be served.
        """
        bare = isinstance(inspect.getattr_static(self._class, "process"), staticmethod | classmethod)
        return provided_besides(1 if bare else 2, self._class.process, f"{self._name}.process")

    def encode(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """As they are: it takes any JSON."""
        return dict(args)

    def decode(self, stored: object) -> dict[str, Any]:
        """None: the job has them, whatever they are."""
        return {}

    def bound(self, values: dict[str, Any], make_job: MakeJob) -> Callable[..., Any]:
        """The method with the job; the instance is made where it runs, because a constructor may block."""
        return lambda **provided: self._class().process(make_job(), **provided)
