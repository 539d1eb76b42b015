"""`@job` and `@worker`."""

import functools
import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from sqla_oban.errors import DeclarationError, InvalidJob, shown
from sqla_oban.models import Job, JobMixin
from sqla_oban.models.checks import checked_name
from sqla_oban.settings import ExecutorKind
from sqla_oban.workers.arguments import Arguments
from sqla_oban.workers.bodies import Body, ClassBody, FunctionBody
from sqla_oban.workers.calls import Call
from sqla_oban.workers.definition import Definition, checked_options, checked_rules
from sqla_oban.workers.options import JobDefaults, JobOptions, PlainOptions, WorkerOptions, executor_kind
from sqla_oban.workers.registry import REGISTRY, default_name, module_of, origin, refuse_unreachable
from sqla_oban.workers.schedule import Schedule

P = ParamSpec("P")
R = TypeVar("R")
J = TypeVar("J", bound=JobMixin)
K = TypeVar("K", bound=JobMixin)
T_co = TypeVar("T_co", covariant=True)
J_co = TypeVar("J_co", bound=JobMixin, covariant=True)


class JobFunction(Generic[P, R, J]):
    """A function that can be called, or be made a job of.

    >>> await send_welcome(1)  # calls it here and now  # doctest: +SKIP
    >>> session.add(send_welcome.new(1))  # calls it later, somewhere, if the transaction commits  # doctest: +SKIP
    """

    def __init__(self, function: Callable[P, R], name: str, arguments: Arguments, defaults: JobDefaults) -> None:
        self._function = function
        self._arguments = arguments
        self._defaults = defaults
        self.name = name
        functools.update_wrapper(self, function)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<job {self.name}>"

    def new(self, /, *args: P.args, **kwargs: P.kwargs) -> J:
        """A job that will call the function with these arguments; add it to a session to enqueue it.

        Raises:
            InvalidArguments: the arguments do not fit the function's signature or its annotations.
            UnserialisableValue: one of them is no JSON value.
            DeclarationError: an annotation cannot be resolved or stored.

        >>> send_welcome.new(1, lang="de")  # doctest: +SKIP
        <Job worker='app.send_welcome' queue='mailers'>
        """
        return cast(J, self._defaults.make(self.name, self._arguments.bind(args, kwargs)))

    @overload
    def with_options(self, *, model: type[K], **options: Unpack[JobOptions]) -> "JobFunction[P, R, K]": ...
    @overload
    def with_options(self, **options: Unpack[JobOptions]) -> "JobFunction[P, R, J]": ...
    def with_options(self, **options: Any) -> "JobFunction[P, R, Any]":
        """The same with other options for the jobs made from it.

        Args:
            model: the class of the jobs, as of another schema.
            **options: `queue`, `priority` 0-9, `max_attempts`, `tags`, `meta`, and when to run: `schedule_in`
                (seconds or timedelta from the INSERT on) or `scheduled_at` (aware datetime). `unique`: a Unique, True
                for its defaults, None for jobs that are not. `chain`: a Chain or names of arguments, None for none.

        Raises:
            UnknownOption: there is no such option.
            InvalidJob, UnserialisableValue: a value is out of range.

        >>> send_welcome.with_options(schedule_in=60, priority=1).new(1)  # doctest: +SKIP
        """
        defaults = self._defaults.with_options(options, f"{self.name}.with_options()")
        if not options.keys().isdisjoint(("unique", "chain")):
            _check_keys(defaults, self._arguments, f"{self.name}.with_options()")
        return JobFunction(self._function, self.name, self._arguments, defaults)


class WorkerClass(Protocol[T_co, J_co]):
    """What `@worker` makes of a class: still that class, with `new`."""

    def __call__(self, *args: Any, **kwargs: Any) -> T_co:
        """An instance, as for any class."""

    @overload
    def new(self, args: Mapping[str, Any] | None = ..., /, *, model: type[K], **options: Unpack[JobOptions]) -> K: ...
    @overload
    def new(self, args: Mapping[str, Any] | None = ..., /, **options: Unpack[JobOptions]) -> J_co: ...
    def new(self, args: Mapping[str, Any] | None = None, /, **options: Any) -> Any:
        """A job that will be given to `process`; add it to a session to enqueue it.

        Args:
            args: a JSON object, empty by default.
            **options: as those of `JobFunction.with_options`.

        Raises:
            UnknownOption: there is no such option.
            InvalidJob, UnserialisableValue: a value is out of range, or no JSON value.
        """


@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R, Job]: ...
@overload
def job(
    *,
    model: type[J],
    backoff: Callable[[J], float] = ...,
    timeout: float | timedelta | Callable[[J], float | None] = ...,
    **options: Unpack[PlainOptions],
) -> Callable[[Callable[P, R]], JobFunction[P, R, J]]: ...
@overload
def job(**options: Unpack[WorkerOptions]) -> Callable[[Callable[P, R]], JobFunction[P, R, Job]]: ...
def job(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declare a function, async or sync, as a worker.

    Args:
        name: the name stored with its jobs, which should outlive refactorings; default `module.qualname`.
        queue: where its jobs wait; default "default".
        priority: 0 (first) to 9; default 0.
        max_attempts: how often a job may be tried; default 20.
        tags, meta: given to each job.
        model: the class of its jobs, as `make_models` made it or a subclass of such a one; default `sqla_oban.Job`.
        backoff: a function of the job that returns the seconds to wait after a failure; default
            `sqla_oban.backoff.exponential`.
        timeout: seconds or a timedelta that an execution may take, or a function of the job that returns seconds or
            None; after it an async job is cancelled and fails. A thread cannot be stopped: it is told through
            `current_job().cancelled`, and left behind with a warning; it keeps its place in the queue's limit until
            it ends. A process is told likewise, and killed a second later. Default: no limit.
        deadline: seconds or a timedelta after it is due within which a job must begin; later it is cancelled
            instead. Default: no limit.
        cron: a cron expression or a Schedule, by which the leader makes a job of it, without arguments.
        executor: "async", "thread" or "process"; default by the function's kind: a sync one runs in a thread. In a
            process runs what needs a core for itself, or may crash, or must be stopped whatever it does; what such a
            one is given besides its arguments is made by `ProcessSettings.setup`.
        transactional: whether the session that the function is given and the job's outcome commit in one transaction:
            what the function does in it then happens once, however often the job runs. The function must not commit.
        unique: keeps a job from being enqueued while the same one is there: a Unique, or True for its defaults.
        chain: the name of an argument, a tuple of names, or a Chain: jobs with the same values run one at a time, in
            the order in which they were enqueued.

    Raises:
        UnknownOption: there is no such option.
        DeclarationError: the function cannot be a worker, or its name is taken.
        InvalidSchedule: `cron` cannot be understood.
        InvalidJob: an option is out of range.

    >>> @job(queue="mailers", max_attempts=5)
    ... async def send_welcome(user_id: int, *, lang: str = "en") -> None: ...
    """
    if function is None:
        return lambda declared: _declare_function(declared, options)
    return _declare_function(function, options)


@overload
def worker(cls: type[T_co], /) -> WorkerClass[T_co, Job]: ...
@overload
def worker(
    *,
    model: type[J],
    backoff: Callable[[J], float] = ...,
    timeout: float | timedelta | Callable[[J], float | None] = ...,
    **options: Unpack[PlainOptions],
) -> Callable[[type[T_co]], WorkerClass[T_co, J]]: ...
@overload
def worker(**options: Unpack[WorkerOptions]) -> Callable[[type[T_co]], WorkerClass[T_co, Job]]: ...
def worker(cls: type[Any] | None = None, /, **options: Any) -> Any:
    """Declare a class as a worker.

    The class has a method `process(self, job: Job)`, async or sync, which may take what the runner provides besides, as
    in `process(self, job: Job, session: AsyncSession = inject())`. It may have `backoff(self, job: Job) -> float`
    and `timeout(self, job: Job) -> float | None`, both in seconds. It is made anew, without arguments, for each
    execution.

    Args:
        **options: as those of `job`.

    Raises:
        UnknownOption: there is no such option.
        DeclarationError: the class has no `process`, or its name is taken.
        InvalidJob: an option is out of range.

    >>> @worker(queue="media")
    ... class Transcode:
    ...     async def process(self, job: Job) -> object: ...
    >>> Transcode.new({"path": "a.mp4"}, schedule_in=60)  # doctest: +SKIP
    """
    if cls is None:
        return lambda declared: _declare_class(declared, options)
    return _declare_class(cls, options)


def _declare_function(function: Callable[..., Any], options: Mapping[str, Any]) -> JobFunction[Any, Any, Any]:
    if isinstance(function, str):
        raise DeclarationError(f"@job takes a function, got {shown(function)}; name the option, as in @job(queue=...)")
    if isinstance(function, type) or not callable(function):
        raise DeclarationError(f"@job takes a function, got {shown(function)}; a class takes @worker")
    if not hasattr(function, "__qualname__"):  # a partial, or an object that can be called
        raise DeclarationError(f"@job takes a function, got {shown(function)}; wrap it in one")
    _refuse_generators(function, "@job takes")
    name = _name(function, options)
    defaults = checked_options(options, f"@job {name}")
    arguments = Arguments(function, name)
    if "cron" in options and arguments.required:
        missing = ", ".join(sorted(arguments.required))
        raise DeclarationError(
            f"@job {name} has cron=, which calls it without arguments, and requires {missing}; give them defaults, "
            "or give a CronJob with them to SqlaOban(cron=[...])"
        )
    _check_keys(defaults, arguments, f"@job {name}")
    body = FunctionBody(function, arguments)
    _register(function, name, defaults, options, _call(body, function, name, options))
    return JobFunction(function, name, arguments, defaults)


def _check_keys(defaults: JobDefaults, arguments: Arguments, where: str) -> None:
    """A key that no argument can have would make every `new` fail."""
    unique, chain = defaults.unique, defaults.chain
    keys = () if unique is None or unique.keys is None or "meta" in unique.fields else unique.keys
    if unknown := [key for key in keys if not arguments.takes(key)]:
        raise DeclarationError(f"{where}: unique by the key {unknown[0]!r}, and there is no such parameter")
    if chain is not None and (unknown := [name for name in chain.by if not arguments.takes(name)]):
        raise DeclarationError(f"{where}: a chain by {unknown[0]!r}, and there is no such parameter")


def _refuse_generators(function: Callable[..., Any], where: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DeclarationError(f"{where} no generator, got {shown(function)}: its body would never run")


def _declare_class(cls: type[Any], options: Mapping[str, Any]) -> type[Any]:
    if not isinstance(cls, type):
        raise DeclarationError(f"@worker takes a class, got {shown(cls)}; a function takes @job")
    process = getattr(cls, "process", None)
    if not callable(process):
        raise DeclarationError(f"@worker {cls.__qualname__} has no method process(self, job)")
    _refuse_generators(process, "a worker's process is")
    name = _name(cls, options)
    defaults = checked_options(options, f"@worker {name}")
    _register(cls, name, defaults, options, _call(ClassBody(cls, name), process, name, options))
    cls.new = staticmethod(functools.partial(_new, name, defaults))
    return cls


def _call(body: Body, function: Callable[..., Any], name: str, options: Mapping[str, Any]) -> Call:
    transactional = options.get("transactional", False)
    if transactional and body.parameters.session is None:
        raise DeclarationError(
            f"{name} is transactional and takes no session; give it a parameter `session: AsyncSession = inject()`"
        )
    return Call(body, inspect.iscoroutinefunction(function), transactional)


def _new(name: str, defaults: JobDefaults, args: Mapping[str, Any] | None = None, /, **options: Any) -> JobMixin:
    if args is not None and not isinstance(args, Mapping):
        raise InvalidJob(f"{name}.new() takes a dict of args, got {shown(args)}")
    return defaults.with_options(options, f"{name}.new()").make(name, dict(args or {}))


def _register(
    target: Callable[..., Any], name: str, defaults: JobDefaults, options: Mapping[str, Any], call: Call
) -> None:
    kind = executor_kind(options.get("executor"), asynchronous=call.asynchronous, where=name)
    if kind is ExecutorKind.PROCESS:
        refuse_unreachable(target, name)
    REGISTRY.add(
        Definition(
            name=name,
            defaults=defaults,
            executor=executor_kind(options.get("executor"), asynchronous=call.asynchronous, where=name),
            prepare=call.prepared,
            rules=checked_rules(options, target, name),
            origin=origin(target),
            cron=_schedule(options.get("cron")),
            is_class=isinstance(target, type),
            module=module_of(target),
            asynchronous=call.asynchronous,
            pinned=options.get("executor") is not None,
            encode=call.body.encode,
        )
    )


def _schedule(cron: object) -> Schedule | None:
    return cron if cron is None or isinstance(cron, Schedule) else Schedule(cron)  # type: ignore[arg-type]  # it checks


def _name(target: Callable[..., Any], options: Mapping[str, Any]) -> str:
    return checked_name("worker", options["name"]) if "name" in options else default_name(target)
