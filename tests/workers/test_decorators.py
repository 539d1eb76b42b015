import asyncio
import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from sqla_oban import Job, job, worker
from sqla_oban.errors import DeclarationError, InvalidArguments, InvalidJob, UnknownOption, UnserialisableValue
from sqla_oban.queries.ack import Ack
from sqla_oban.settings import ExecutorKind
from sqla_oban.workers.calls import Surroundings
from sqla_oban.workers.providing import Provider
from sqla_oban.workers.registry import Registry

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


async def send(user_id: int, *, lang: str = "en") -> str:
    """Send a greeting."""
    return f"{user_id}/{lang}"


def shrink(path: str, /, width: int = 80, **more: int) -> tuple[object, ...]:
    return path, width, more


def pages(count: int) -> Iterator[int]:
    yield from range(count)


async def stream(count: int) -> AsyncIterator[int]:
    yield count


async def ask_for_backoff(job: Job) -> float:
    return 5.0


class Transcode:
    """Makes a small film of a big one."""

    async def process(self, job: Job) -> object:
        return job.args


class Index:
    def process(self, job: Job) -> object:
        return job.id

    def backoff(self, job: Job) -> float:
        return 7.0 * job.attempt


def loaded() -> Job:
    return Job(worker="w", args={"a": 1})


def prepared(registry: Registry, name: str, args: object, make_job: Callable[[], Job] = loaded) -> Callable[[], Any]:
    def unjudged(result: object) -> Ack:
        raise AssertionError("nothing is committed here")

    return registry.get(name).prepare(args, Surroundings(make_job, Provider(), unjudged))


def test_a_declared_function_is_still_that_function() -> None:
    declared = job(send)
    assert asyncio.run(declared(1, lang="de")) == "1/de"
    assert job(shrink)("a.png", x=2) == ("a.png", 80, {"x": 2})
    assert {name: getattr(declared, name) for name in ("__name__", "__doc__", "__module__")} == {
        "__name__": "send",
        "__doc__": "Send a greeting.",
        "__module__": __name__,
    }
    assert inspect.signature(declared) == inspect.signature(send)
    assert repr(declared) == f"<job {__name__}.send>"


@pytest.mark.parametrize(
    ("function", "kind"), [(send, ExecutorKind.ASYNC), (shrink, ExecutorKind.THREAD)], ids=["async", "sync"]
)
@pytest.mark.parametrize("options", [None, {}, {"queue": "q"}], ids=["bare", "no-options", "options"])
def test_a_function_is_declared_with_and_without_options(
    function: Any, kind: ExecutorKind, options: dict[str, Any] | None, registry: Registry
) -> None:
    declare: Any = job
    declared = declare(function) if options is None else declare(**options)(function)
    assert declared.name == f"{__name__}.{function.__name__}"
    assert [*registry] == [declared.name]
    assert registry.get(declared.name).executor is kind
    assert declared.new(1 if function is send else "p").__dict__.get("queue") == (options or {}).get("queue")


def test_new_makes_a_job_of_a_call_and_does_not_make_the_call() -> None:
    called: list[int] = []

    @job(name="shop.note", queue="notes", max_attempts=3, priority=2, tags=["N"], meta={"v": 1})
    def note(number: int) -> None:
        called.append(number)

    made = note.new(5)
    assert (made.worker, made.args, made.queue) == ("shop.note", {"number": 5}, "notes")
    assert (made.max_attempts, made.priority, made.tags, made.meta) == (3, 2, ["n"], {"v": 1})
    assert called == []


def test_new_refuses_arguments_that_do_not_fit() -> None:
    with pytest.raises(InvalidArguments, match=r"send\(user_id: int, \*, lang: str = 'en'\) -> str: missing"):
        job(send).new()  # type: ignore[call-arg]
    with pytest.raises(InvalidArguments, match="too many positional"):
        job(send).new(1, "de")  # type: ignore[call-arg]


def test_new_refuses_values_that_are_not_json_and_names_them() -> None:
    def untyped(thing: Any) -> None: ...

    with pytest.raises(UnserialisableValue, match=r"args\['thing'\] is a object"):
        job(untyped).new(object())


def test_new_refuses_values_that_do_not_fit_their_annotation_and_names_them() -> None:
    with pytest.raises(InvalidArguments, match=r"send: the argument 'user_id' does not fit: Expected `int`, got `str`"):
        job(send).new("1")  # type: ignore[arg-type]


def test_options_for_some_jobs_do_not_change_the_others() -> None:
    declared = job(queue="a", tags=["t"])(shrink)
    other = declared.with_options(queue="b", priority=1)
    assert (other.new("p").queue, other.new("p").priority, other.new("p").tags) == ("b", 1, ["t"])
    assert "priority" not in declared.new("p").__dict__
    assert declared.new("p").queue == "a"
    assert (other.name, other("p")) == (declared.name, declared("p"))


def test_of_two_moments_the_later_word_counts() -> None:
    made = job(shrink).with_options(schedule_in=60).with_options(scheduled_at=NOON).new("p")
    assert made.scheduled_at == NOON


def test_both_moments_at_once_are_refused() -> None:
    with pytest.raises(InvalidJob, match=r"shrink.with_options\(\) takes schedule_in or scheduled_at, not both"):
        job(shrink).with_options(schedule_in=60, scheduled_at=NOON)
    with pytest.raises(InvalidJob, match=r"Transcode.new\(\) takes schedule_in or scheduled_at, not both"):
        worker(Transcode).new({}, schedule_in=60, scheduled_at=NOON)


@pytest.mark.parametrize(
    "declare",
    [
        pytest.param(lambda: job(prioritty=1)(shrink), id="@job"),  # type: ignore[call-overload]
        pytest.param(lambda: worker(prioritty=1)(Transcode), id="@worker"),  # type: ignore[call-overload]
        pytest.param(lambda: job(shrink).with_options(prioritty=1), id="with_options"),  # type: ignore[call-overload]
        pytest.param(lambda: worker(Transcode).new({}, prioritty=1), id="new"),  # type: ignore[call-overload]
    ],
)
def test_an_unknown_option_is_told_with_the_one_that_was_meant(declare: Callable[[], object]) -> None:
    with pytest.raises(UnknownOption, match="has no option 'prioritty'; did you mean 'priority'"):
        declare()


@pytest.mark.parametrize("option", ["schedule_in", "scheduled_at"])
def test_a_declaration_has_no_moment(option: str) -> None:
    with pytest.raises(UnknownOption, match=rf"@job {__name__}.shrink has no option '{option}'"):
        job(**{option: 1})(shrink)  # type: ignore[call-overload]


@pytest.mark.parametrize("declare", [lambda **given: job(**given)(shrink), lambda **given: worker(**given)(Transcode)])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"priority": 10}, InvalidJob, id="priority"),
        pytest.param({"queue": " "}, InvalidJob, id="queue"),
        pytest.param({"name": ""}, InvalidJob, id="blank-name"),
        pytest.param({"name": "x" * 128}, InvalidJob, id="long-name"),
        pytest.param({"backoff": 5}, DeclarationError, id="backoff"),
        pytest.param({"backoff": ask_for_backoff}, DeclarationError, id="async-backoff"),
        pytest.param({"executor": "fiber"}, DeclarationError, id="executor"),
    ],
)
def test_a_wrong_option_is_refused_at_the_declaration_and_declares_nothing(
    declare: Callable[..., object], options: dict[str, Any], error: type[Exception], registry: Registry
) -> None:
    with pytest.raises(error):
        declare(**options)
    assert [*registry] == []


@pytest.mark.parametrize(
    ("function", "executor"), [(send, "thread"), (shrink, "async")], ids=["async-in-thread", "sync-in-loop"]
)
def test_an_executor_of_the_wrong_kind_is_refused(function: Any, executor: str) -> None:
    with pytest.raises(DeclarationError, match=f"executor='{'async' if executor == 'thread' else 'thread'}'"):
        job(executor=executor)(function)


def test_two_workers_cannot_share_a_name() -> None:
    job(name="shop.x")(shrink)
    with pytest.raises(DeclarationError, match=r"'shop\.x' is taken by shrink in "):
        worker(name="shop.x")(Transcode)


def test_a_reload_declares_again() -> None:
    assert job(shrink).name == job(shrink).name


@pytest.mark.parametrize("target", [Transcode, 5, None], ids=["class", "number", "none"])
def test_a_job_is_made_of_a_function_only(target: Any) -> None:
    with pytest.raises(DeclarationError, match="@job takes a function"):
        job()(target)


def test_an_option_without_its_name_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"@job takes a function, got 'mailers'; name the option"):
        job("mailers")  # type: ignore[call-overload]


@pytest.mark.parametrize("target", [shrink, 5, Transcode()], ids=["function", "number", "instance"])
def test_a_worker_is_made_of_a_class_only(target: Any) -> None:
    with pytest.raises(DeclarationError, match="@worker takes a class"):
        worker(target)


@pytest.mark.parametrize("process", [{}, {"process": 5}], ids=["missing", "no-method"])
def test_a_worker_needs_a_method_process(process: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"@worker Empty has no method process\(self, job\)"):
        worker(type("Empty", (), process))


def test_a_function_with_unnamed_arguments_cannot_be_declared(registry: Registry) -> None:
    def everything(*paths: str) -> None: ...

    with pytest.raises(DeclarationError, match=r"takes \*args, which a job cannot store; take a list instead"):
        job(name="shop.everything")(everything)
    assert [*registry] == []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        pytest.param(pages, "@job takes no generator, got .*: its body would never run", id="generator"),
        pytest.param(stream, "@job takes no generator, got .*: its body would never run", id="async-generator"),
        pytest.param(functools.partial(shrink, "p"), "@job takes a function, got .*; wrap it in one", id="partial"),
        pytest.param(max, "shop.odd: no signature found .*; wrap it in a function of your own", id="no-signature"),
    ],
)
def test_what_could_not_be_called_for_a_job_cannot_be_declared(function: Any, message: str, registry: Registry) -> None:
    with pytest.raises(DeclarationError, match=message):
        job(name="shop.odd")(function)
    assert [*registry] == []


def test_an_argument_may_be_called_self() -> None:
    def greet(self: int) -> int:
        return self

    declared = job(name="shop.greet")(greet)
    assert declared.new(self=1).args == {"self": 1}
    assert declared(self=1) == 1


def test_a_decorated_function_is_bound_by_the_signature_of_the_innermost() -> None:
    @functools.wraps(shrink)
    def traced(*args: Any, **kwargs: Any) -> Any:
        return "traced", shrink(*args, **kwargs)

    declared = job(name="shop.traced")(traced)
    assert declared.new("p", 5, z=1).args == {"path": "p", "width": 5, "z": 1}
    assert declared("p") == ("traced", ("p", 80, {}))


@pytest.mark.parametrize(
    ("stored", "result"),
    [({"path": "p"}, ("p", 80, {})), ({"x": 1, "width": 5, "path": "p"}, ("p", 5, {"x": 1}))],
)
def test_a_stored_call_is_prepared_for_the_engine(stored: object, result: object, registry: Registry) -> None:
    assert prepared(registry, job(shrink).name, stored)() == result


def test_a_function_worker_never_loads_the_whole_job(registry: Registry) -> None:
    def unwanted() -> Job:
        raise AssertionError("the job was loaded")

    assert prepared(registry, job(shrink).name, {"path": "p"}, unwanted)() == ("p", 80, {})


def test_a_declared_class_is_still_that_class(registry: Registry) -> None:
    declared: Any = worker(Transcode)
    assert declared is Transcode
    assert isinstance(declared(), Transcode)
    assert registry.get(f"{__name__}.Transcode").executor is ExecutorKind.ASYNC


def test_a_class_makes_jobs_of_a_json_object() -> None:
    declared = worker(queue="media", priority=3)(Transcode)
    made = declared.new({"path": "a.mp4"}, priority=4)
    assert (made.worker, made.args) == (f"{__name__}.Transcode", {"path": "a.mp4"})
    assert (made.queue, made.priority, declared.new().priority) == ("media", 4, 3)
    assert declared.new().args == {}


@pytest.mark.parametrize("args", [[1], "text", 5], ids=repr)
def test_a_class_refuses_args_that_are_no_object(args: Any) -> None:
    with pytest.raises(InvalidJob, match=r"Transcode.new\(\) takes a dict of args"):
        worker(Transcode).new(args)


def test_a_class_refuses_args_that_are_not_json_and_names_them() -> None:
    with pytest.raises(UnserialisableValue, match=r"args\['a'\] is a set"):
        worker(Transcode).new({"a": {1}})


async def test_a_class_is_made_anew_for_each_execution_and_given_the_job(registry: Registry) -> None:
    made: list[object] = []

    class Counted(Transcode):
        def __init__(self) -> None:
            made.append(self)

    worker(name="shop.counted")(Counted)
    calls = [prepared(registry, "shop.counted", {}) for _ in range(2)]
    assert [await call() for call in calls] == [{"a": 1}, {"a": 1}]
    assert len({id(one) for one in made}) == 2


@pytest.mark.parametrize(
    ("declare", "seconds"),
    [
        pytest.param(lambda: worker(name="w")(Index), 14.0, id="method"),
        pytest.param(lambda: worker(name="w", backoff=lambda _: 3.0)(Index), 14.0, id="method-before-option"),
        pytest.param(lambda: worker(name="w", backoff=lambda _: 3.0)(Transcode), 3.0, id="class-option"),
        pytest.param(lambda: job(name="w", backoff=lambda one: one.attempt + 1.0)(shrink), 3.0, id="function-option"),
    ],
)
def test_a_worker_may_have_its_own_backoff(declare: Callable[[], object], seconds: float, registry: Registry) -> None:
    declare()
    failed = Job(worker="w", attempt=2)
    assert registry.get("w").rules.delay(lambda: failed, 2, 20) == seconds


def test_the_default_backoff_needs_no_job(registry: Registry) -> None:
    def unwanted() -> Job:
        raise AssertionError("the job was loaded")

    job(name="w")(shrink)
    assert 17 <= registry.get("w").rules.delay(unwanted, 1, 20) <= 17 * 1.1


@pytest.mark.parametrize(
    ("options", "place", "in_a_queue_for_processes"),
    [
        ({}, ExecutorKind.THREAD, ExecutorKind.PROCESS),
        ({"executor": "thread"}, ExecutorKind.THREAD, ExecutorKind.THREAD),
        ({"executor": "process"}, ExecutorKind.PROCESS, ExecutorKind.PROCESS),
    ],
)
def test_a_worker_runs_where_it_says_else_where_its_queue_says_else_by_its_kind(
    options: dict[str, Any], place: ExecutorKind, in_a_queue_for_processes: ExecutorKind, registry: Registry
) -> None:
    declare: Any = job
    definition = registry.get(declare(name="shop.x", **options)(shrink).name)
    assert definition.place(None) is place
    assert definition.place(ExecutorKind.PROCESS) is in_a_queue_for_processes
    assert definition.natural is ExecutorKind.THREAD
    assert definition.module == __name__


def test_a_worker_for_processes_must_be_found_by_importing_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def local() -> None: ...

    with pytest.raises(DeclarationError, match="is declared inside a function, where another process does not find it"):
        job(executor="process")(local)

    local.__qualname__, local.__module__ = "local", "__main__"
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    with pytest.raises(DeclarationError, match="is declared in no file; another process could not import it"):
        job(executor="process")(local)
