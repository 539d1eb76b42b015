"""What a runner gives to its workers besides their arguments: sessions, and whatever else it was told how to make."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import (
    AsyncContextDecorator,
    AsyncExitStack,
    ContextDecorator,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.errors import NotProvided
from sqla_oban.models import Job, JobMixin

Factory = Callable[[], Any]
ASKED = "the worker asks for"
ROWS = "the rows among the worker's arguments are loaded by"
"""What is made is for the worker itself, or for its arguments."""
BY_RUNNER = "this runner cannot make; give it SqlaOban(dependencies={{{kind}: ...}})"
BY_PROCESS = "its process cannot make; name what returns {{{kind}: ...}} by ProcessSettings(setup=...)"
"""Who cannot make something, and what to do."""


class Injected:
    """The default of a parameter that the runner provides."""

    def __repr__(self) -> str:
        return "inject()"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own questions, as of a copy
            raise AttributeError(name)
        raise NotProvided(
            f"the runner provides what inject() marks; called directly, a worker must be given it (for {name!r})"
        )


INJECTED = Injected()


def inject() -> Any:
    """Marks a parameter that the runner provides by its annotation, so that `new` need not be given it.

    >>> @job
    ... async def ship(order_id: int, carrier: Carrier = inject()) -> None: ...  # doctest: +SKIP
    >>> SqlaOban(engine, queues=..., dependencies={Carrier: make_carrier})  # doctest: +SKIP
    """
    return INJECTED


class Provider:
    """Makes what workers' parameters ask for, by type, anew for each execution.

    A session is closed when the worker has ended, and so is what a generator function yields or a
    `contextlib.contextmanager` opens. What another function returns is used as it is, and left open.

    Args:
        session_factory: makes an AsyncSession; None where there is none to be had.
        dependencies: functions without arguments by the type that they make.
        schema: of the job's table; None for the search path's.
        model: the class of the jobs that workers are given.
        lacking: what is said of a type that nothing makes, `{kind}`: who cannot, and what to do.
    """

    def __init__(
        self,
        session_factory: Factory | None = None,
        dependencies: Mapping[Any, Factory] | None = None,
        *,
        schema: str | None = None,
        model: type[JobMixin] = Job,
        lacking: str = BY_RUNNER,
    ) -> None:
        self._factories = {kind: _managed(factory) for kind, factory in (dependencies or {}).items()}
        if session_factory is not None:
            self._factories.setdefault(AsyncSession, session_factory)
        self.schema = schema
        self.model = model
        self._lacking = lacking

    async def enter(self, kind: Any, stack: AsyncExitStack, purpose: str = ASKED) -> Any:
        """For an async worker: something of type `kind`, which `stack` closes.

        Args:
            kind: the type.
            stack: closes it.
            purpose: what it is for, as an error should say.

        Raises:
            NotProvided: the runner was given nothing that makes it.
            whatever making it raises.
        """
        made = self._factory(kind, purpose)()
        if inspect.isawaitable(made):
            made = await made
        match made:
            case AsyncSession() | AsyncContextDecorator():
                entered = await made.__aenter__()  # type: ignore[union-attr]  # a decorator that is entered
                stack.push_async_exit(functools.partial(_leave_async, made))
                return entered
            case ContextDecorator():
                return _entered(made, stack)
            case _:
                return made

    def open(self, kind: Any, stack: ExitStack, purpose: str = ASKED) -> Any:
        """The same for a sync worker, in its thread."""
        made = self._factory(kind, purpose)()
        match made:
            case Session() | ContextDecorator():
                return _entered(made, stack)
            case AsyncContextDecorator():
                raise NotProvided(f"a sync worker cannot be given {_name(kind)}, which is made asynchronously")
            case _ if inspect.isawaitable(made):
                if inspect.iscoroutine(made):
                    made.close()
                raise NotProvided(f"a sync worker cannot be given {_name(kind)}, which is made asynchronously")
            case _:
                return made

    def _factory(self, kind: Any, purpose: str) -> Factory:
        try:
            return self._factories[kind]
        except KeyError:
            raise NotProvided(f"{purpose} {_name(kind)}, which {self._lacking.format(kind=_name(kind))}") from None


def _entered(made: Any, stack: ExitStack | AsyncExitStack) -> Any:
    entered = made.__enter__()
    stack.push(functools.partial(_leave, made))
    return entered


def _leave(made: Any, *raised: Any) -> None:
    """What was made hears of the worker's failure, and cannot make a success of it by swallowing that."""
    made.__exit__(*raised)


async def _leave_async(made: Any, *raised: Any) -> None:
    await made.__aexit__(*raised)


def _managed(factory: Factory) -> Factory:
    if inspect.isasyncgenfunction(factory):
        return asynccontextmanager(factory)
    if inspect.isgeneratorfunction(factory):
        return contextmanager(factory)
    return factory


def _name(kind: Any) -> str:
    return getattr(kind, "__qualname__", None) or repr(kind)
