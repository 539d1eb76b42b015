"""What each parameter of a function worker is: an argument, an entity, or something that the runner provides."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from sqlalchemy import inspect as mapping_of
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper, Session

from sqla_oban.errors import DeclarationError
from sqla_oban.workers.codec import Codec
from sqla_oban.workers.providing import INJECTED
from sqla_oban.workers.references import Reference

Kind = inspect.Parameter
UNTYPED = (Kind.empty, Any, object)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one function by what they are; those in none of these take any JSON value.

    Args:
        codecs: arguments that are converted by their annotation.
        references: arguments that are rows of the application.
        provided: what the runner provides, by type.
    """

    codecs: Mapping[str, Codec] = field(default_factory=dict)
    references: Mapping[str, Reference] = field(default_factory=dict)
    provided: Mapping[str, Any] = field(default_factory=dict)

    @property
    def session(self) -> str | None:
        """The parameter that takes a session; the first one, if there are several."""
        return next((name for name, kind in self.provided.items() if _is_session(kind)), None)


def parameters_of(function: Callable[..., Any], where: str) -> Parameters:
    """The parameters of `function`, by their annotations and defaults.

    Raises:
        DeclarationError: an annotation cannot be understood, or not be served.
    """
    codecs, references, provided = {}, {}, {}
    for parameter in inspect.signature(function).parameters.values():
        name, annotation = parameter.name, _resolved(function, parameter, where)
        if is_provided(parameter, annotation):
            _check_provided(function, parameter, annotation, where)
            provided[name] = annotation
        elif annotation in UNTYPED:
            continue
        elif (reference := _reference(annotation, name, where)) is not None:
            references[name] = reference
        elif _holds_mapped(annotation):
            raise DeclarationError(
                f"{where}: {name!r} takes rows inside {annotation!r}; take a single row, or the keys of several"
            )
        else:
            codecs[name] = Codec(annotation, name, where)
    return Parameters(codecs, references, provided)


def provided_besides(given: int, method: Callable[..., Any], where: str) -> Parameters:
    """What the runner provides to a method that is called with `given` arguments besides.

    Raises:
        DeclarationError: an annotation cannot be understood, or a parameter not be served.
    """
    provided = {}
    for parameter in list(inspect.signature(method).parameters.values())[given:]:
        name, annotation = parameter.name, _resolved(method, parameter, where)
        if is_provided(parameter, annotation):
            _check_provided(method, parameter, annotation, where)
            provided[name] = annotation
        elif parameter.default is Kind.empty and parameter.kind not in (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD):
            raise DeclarationError(f"{where} takes the job and what inject() marks, and nothing as {name!r}")
    return Parameters(provided=provided)


def is_provided(parameter: Kind, annotation: Any) -> bool:
    """Whether the runner provides a parameter: it says `inject()`, or it is a session."""
    return parameter.default is INJECTED or _is_session(annotation)


def _is_session(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, AsyncSession | Session)


def _check_provided(function: Callable[..., Any], parameter: Kind, annotation: Any, where: str) -> None:
    name = parameter.name
    if parameter.kind is Kind.POSITIONAL_ONLY:
        raise DeclarationError(f"{where}: {name!r} is provided by the runner, which passes it by its name")
    if annotation is Kind.empty:
        raise DeclarationError(f"{where}: {name!r} is to be injected and has no annotation to say what")
    if _is_session(annotation) and issubclass(annotation, AsyncSession) != inspect.iscoroutinefunction(function):
        raise DeclarationError(
            f"{where}: {name!r} is a {annotation.__qualname__}; an async worker takes an AsyncSession, a sync one a "
            "Session"
        )


def _reference(annotation: Any, name: str, where: str) -> Reference | None:
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    target, *others = (one for one in parts if one is not NoneType)
    mapper: object = mapping_of(target, raiseerr=False) if isinstance(target, type) and not others else None
    return Reference(mapper, name, where, optional=NoneType in parts) if isinstance(mapper, Mapper) else None


def _holds_mapped(annotation: Any) -> bool:
    inner = get_args(annotation)
    mapped = isinstance(annotation, type) and isinstance(mapping_of(annotation, raiseerr=False), Mapper)
    return mapped or any(_holds_mapped(one) for one in inner)


def _resolved(function: Callable[..., Any], parameter: Kind, where: str) -> Any:
    """The annotation itself, where it was written as text, or contains such."""
    if parameter.annotation is Kind.empty:
        return Kind.empty
    alone = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return get_type_hints(alone, globalns=names, include_extras=True)[parameter.name]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise DeclarationError(
            f"{where}: the annotation of {parameter.name!r}, {parameter.annotation!r}, cannot be resolved ({error}); "
            "its names must exist in the module at run time"
        ) from None
