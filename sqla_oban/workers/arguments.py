"""A worker's arguments on their way into a job and out of it."""

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from sqla_oban.errors import DeclarationError, InvalidArguments
from sqla_oban.models.entity import Entity
from sqla_oban.workers.codec import Codec
from sqla_oban.workers.parameters import Parameters, parameters_of
from sqla_oban.workers.references import Reference

Kind = inspect.Parameter


class Arguments:
    """The parameters of a function worker: binds calls to JSON objects, and JSON objects to calls.

    Arguments are stored by parameter name; those left out stay out, so that the function's default of the day on
    which the job runs counts. What the parameters are is looked at when first needed: an annotation may name a class
    that its module defines later.

    Raises:
        DeclarationError: the function takes *args, which have no names to be stored under.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name = name
        self._function = function
        try:
            self._whole = inspect.signature(function)
        except ValueError as error:
            raise DeclarationError(f"{name}: {error}; wrap it in a function of your own") from None
        parameters = self._whole.parameters.values()
        if any(parameter.kind is Kind.VAR_POSITIONAL for parameter in parameters):
            raise DeclarationError(f"{name} takes *args, which a job cannot store; take a list instead")
        self._positional = [parameter.name for parameter in parameters if parameter.kind is Kind.POSITIONAL_ONLY]
        self._rest = next((one.name for one in parameters if one.kind is Kind.VAR_KEYWORD), None)

    @cached_property
    def parameters(self) -> Parameters:
        """What each of them is.

        Raises:
            DeclarationError: an annotation cannot be understood, or not be served.
        """
        return parameters_of(self._function, self._name)

    @cached_property
    def required(self) -> frozenset[str]:
        """The arguments that have no default."""
        return frozenset(name for name, one in self._named.items() if one.default is Kind.empty)

    def takes(self, name: str) -> bool:
        """Whether a job can have an argument of that name, as far as can be told without the annotations."""
        return self._rest is not None or name in self._whole.parameters

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, as they are stored; the job that takes them checks untyped ones.

        Raises:
            InvalidArguments: they do not fit the signature or its annotations.
        """
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise InvalidArguments(f"{self._name}{self._signature}: {error}") from None
        rest = bound.pop(self._rest, {}) if self._rest else {}
        if clash := sorted(rest.keys() & bound.keys()):
            raise InvalidArguments(f"{self._name}{self._signature}: {clash[0]!r} is given twice, a job can store one")
        return {name: self._encoded(name, value) for name, value in (*bound.items(), *rest.items())}

    def encode(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, any of them, as they are stored; those of a job, which are so already, as they are.

        Raises:
            InvalidArguments: one does not fit its annotation.
        """
        return {name: self._stored(name, value) for name, value in args.items()}

    def decode(self, stored: object) -> dict[str, Any]:
        """The arguments by name from a stored JSON object; of an entity, its key.

        Raises:
            InvalidArguments: what is stored is no object, or does not fit the signature or its annotations.
        """
        if not isinstance(stored, dict):
            raise InvalidArguments(f"{self._name}: the job's args are {type(stored).__name__}, not an object")
        decoders = self._decoders
        if stored.keys() != decoders.keys():
            self._check(stored)
        return {name: decoders.get(name, self._decode_rest)(value) for name, value in stored.items()}

    def split(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments of the call."""
        keywords = dict(values)
        return [keywords.pop(name) for name in self._positional if name in keywords], keywords

    @cached_property
    def _signature(self) -> inspect.Signature:
        """Without what the runner provides."""
        provided = self.parameters.provided
        return self._whole.replace(
            parameters=[one for one in self._whole.parameters.values() if one.name not in provided]
        )

    @cached_property
    def _named(self) -> dict[str, Kind]:
        parameters = self._signature.parameters.items()
        return {name: one for name, one in parameters if one.kind is not Kind.VAR_KEYWORD}

    def _converter(self, name: str) -> Codec | Reference | None:
        parameters = self.parameters
        typed = name if name in self._named else self._rest or name
        return parameters.codecs.get(typed) or parameters.references.get(typed)

    def _encoded(self, name: str, value: object) -> object:
        converter = self._converter(name)
        return value if converter is None else converter.encode(value)

    def _stored(self, name: str, value: object) -> object:
        """A dict that does not fit may be what is stored, as of an entity, or a part of that."""
        try:
            return value if isinstance(value, Entity) else self._encoded(name, value)
        except InvalidArguments:
            if isinstance(value, dict):
                return value
            raise

    @cached_property
    def _decoders(self) -> dict[str, Callable[[object], Any]]:
        return {name: self._decoder(name) for name in self._named}

    @cached_property
    def _decode_rest(self) -> Callable[[object], Any]:
        return self._decoder(self._rest or "")

    def _decoder(self, name: str) -> Callable[[object], Any]:
        converter = self._converter(name)
        return _same if converter is None else converter.decode

    def _check(self, stored: dict[str, Any]) -> None:
        if not (self.required <= stored.keys() and (self._rest or self._named.keys() >= stored.keys())):
            self._refuse(stored)
        given = [name for name in self._positional if name in stored]
        if given != self._positional[: len(given)]:  # one is left out before another, which no call can say
            self._refuse(stored)

    def _refuse(self, stored: dict[str, Any]) -> None:
        left_out = self.required - stored.keys() or set(self._positional) - stored.keys()
        missing = ", ".join(sorted(left_out))
        unknown = ", ".join(sorted(stored.keys() - self._named.keys())) if self._rest is None else ""
        problems = [f"{what}: {names}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
        raise InvalidArguments(f"the job's args do not fit {self._name}{self._signature}; {'; '.join(problems)}")


def _same(value: object) -> object:
    return value
