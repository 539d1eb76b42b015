"""A worker's arguments on their way into a job and out of it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sqla_oban.errors import DeclarationError, InvalidArguments

Kind = inspect.Parameter


class Arguments:
    """The parameters of a function worker: binds calls to JSON objects, and JSON objects to calls.

    Arguments are stored by parameter name; those left out stay out, so that the function's default of the day on
    which the job runs counts.

    Raises:
        DeclarationError: the function takes *args, which have no names to be stored under.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name = name
        try:
            self._signature = inspect.signature(function)
        except ValueError as error:
            raise DeclarationError(f"{name}: {error}; wrap it in a function of your own") from None
        parameters = self._signature.parameters.values()
        if any(parameter.kind is Kind.VAR_POSITIONAL for parameter in parameters):
            raise DeclarationError(f"{name} takes *args, which a job cannot store; take a list instead")
        named = [parameter for parameter in parameters if parameter.kind is not Kind.VAR_KEYWORD]
        self._known = frozenset(parameter.name for parameter in named)
        self._required = frozenset(parameter.name for parameter in named if parameter.default is Kind.empty)
        self._positional = [parameter.name for parameter in parameters if parameter.kind is Kind.POSITIONAL_ONLY]
        self._rest = next((one.name for one in parameters if one.kind is Kind.VAR_KEYWORD), None)

    @property
    def required(self) -> frozenset[str]:
        """The parameters that have no default."""
        return self._required

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name; the job that takes them checks that they are JSON values.

        Raises:
            InvalidArguments: they do not fit the signature.
        """
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise InvalidArguments(f"{self._name}{self._signature}: {error}") from None
        rest = bound.pop(self._rest, {}) if self._rest else {}
        if clash := sorted(rest.keys() & bound.keys()):
            raise InvalidArguments(f"{self._name}{self._signature}: {clash[0]!r} is given twice, a job can store one")
        return {**bound, **rest}

    def call(self, stored: object) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments from a stored JSON object.

        Raises:
            InvalidArguments: what is stored is no object, or does not fit the signature.
        """
        if not isinstance(stored, dict):
            raise InvalidArguments(f"{self._name}: the job's args are {type(stored).__name__}, not an object")
        keywords = dict(stored)
        if not (self._required <= keywords.keys() and (self._rest or self._known >= keywords.keys())):
            self._refuse(keywords)
        given = [name for name in self._positional if name in keywords]
        if given != self._positional[: len(given)]:  # one is left out before another, which no call can say
            self._refuse(keywords)
        return [keywords.pop(name) for name in given], keywords

    def _refuse(self, stored: dict[str, Any]) -> None:
        left_out = self._required - stored.keys() or set(self._positional) - stored.keys()
        missing = ", ".join(sorted(left_out))
        unknown = ", ".join(sorted(stored.keys() - self._known)) if self._rest is None else ""
        problems = [f"{what}: {names}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
        raise InvalidArguments(f"the job's args do not fit {self._name}{self._signature}; {'; '.join(problems)}")
