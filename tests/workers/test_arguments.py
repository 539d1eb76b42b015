from collections.abc import Callable
from typing import Any

import pytest

from sqla_oban.errors import DeclarationError, InvalidArguments
from sqla_oban.workers.arguments import Arguments


def plain(a: int, b: int = 2, *, c: int = 3) -> object:
    return a, b, c


def positional_only(a: int, b: int = 2, /, c: int = 3) -> object:
    return a, b, c


def optional(a: int = 1, b: int = 2, /) -> object:
    return a, b


def keyword_only(*, a: int, b: int = 2) -> object:
    return a, b


def rest(a: int, **others: int) -> object:
    return a, others


def nothing() -> object:
    return ()


def named_like_the_library(name: str, call: str, stored: str = "", *, args: int = 0, queue: str = "q") -> object:
    return name, call, stored, args, queue


def called(function: Callable[..., Any], stored: object) -> Any:
    arguments = Arguments(function, "w")
    positional, keywords = arguments.split(arguments.decode(stored))
    return function(*positional, **keywords)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "stored"),
    [
        pytest.param(plain, (1,), {}, {"a": 1}, id="defaults-stay-out"),
        pytest.param(plain, (1, 5), {"c": 6}, {"a": 1, "b": 5, "c": 6}, id="positional-and-keyword"),
        pytest.param(plain, (), {"b": 5, "a": 1}, {"a": 1, "b": 5}, id="by-keyword"),
        pytest.param(plain, (1, 2), {"c": 3}, {"a": 1, "b": 2, "c": 3}, id="values-equal-to-the-defaults-are-kept"),
        pytest.param(positional_only, (1,), {}, {"a": 1}, id="positional-only-default"),
        pytest.param(positional_only, (1, 5), {"c": 6}, {"a": 1, "b": 5, "c": 6}, id="positional-only"),
        pytest.param(keyword_only, (), {"a": 1}, {"a": 1}, id="keyword-only"),
        pytest.param(rest, (1,), {"x": 2, "y": 3}, {"a": 1, "x": 2, "y": 3}, id="others-by-name"),
        pytest.param(rest, (1,), {"others": 2}, {"a": 1, "others": 2}, id="another-called-like-the-rest"),
        pytest.param(rest, (1,), {}, {"a": 1}, id="no-others"),
        pytest.param(nothing, (), {}, {}, id="none"),
        pytest.param(
            named_like_the_library,
            ("n", "c"),
            {"args": 1, "queue": "x"},
            {"name": "n", "call": "c", "args": 1, "queue": "x"},
            id="any-name",
        ),
    ],
)
def test_a_call_is_stored_by_parameter_name_and_made_again_from_that(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], stored: dict[str, Any]
) -> None:
    assert Arguments(function, "w").bind(args, kwargs) == stored
    if not any(isinstance(value, tuple) for value in args):
        assert called(function, stored) == function(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        pytest.param((), {}, "missing a required argument: 'a'", id="missing"),
        pytest.param((1, 2, 3), {}, "too many positional arguments", id="too-many"),
        pytest.param((1,), {"d": 1}, "unexpected keyword argument 'd'", id="unknown"),
        pytest.param((1,), {"a": 1}, "multiple values for argument 'a'", id="twice"),
    ],
)
def test_a_call_that_does_not_fit_names_the_worker_and_its_signature(
    args: tuple[Any, ...], kwargs: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidArguments) as refused:
        Arguments(plain, "shop.plain").bind(args, kwargs)
    assert str(refused.value).startswith("shop.plain(a: int, b: int = 2, *, c: int = 3) -> object: ")
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("function", "stored", "reason"),
    [
        pytest.param(plain, [1], "the job's args are list, not an object", id="array"),
        pytest.param(plain, 5, "the job's args are int, not an object", id="number"),
        pytest.param(plain, None, "the job's args are NoneType, not an object", id="null"),
        pytest.param(plain, {}, "missing: a", id="missing"),
        pytest.param(plain, {"a": 1, "old": 2}, "unknown: old", id="unknown"),
        pytest.param(plain, {"old": 2, "b": 1}, "missing: a; unknown: old", id="missing-and-unknown"),
        pytest.param(positional_only, {"c": 1}, "missing: a", id="positional-only-missing"),
        pytest.param(optional, {"b": 1}, "missing: a", id="left-out-before-another-that-is-given"),
        pytest.param(nothing, {"a": 1}, "unknown: a", id="takes-nothing"),
        pytest.param(rest, {"x": 1}, "missing: a", id="only-others"),
    ],
)
def test_stored_args_that_do_not_fit_are_refused_by_name(
    function: Callable[..., Any], stored: object, reason: str
) -> None:
    with pytest.raises(InvalidArguments, match=r"shop\.w") as refused:
        Arguments(function, "shop.w").decode(stored)
    assert reason in str(refused.value)


def test_the_default_of_the_day_on_which_the_job_runs_counts() -> None:
    def changed(a: int, b: int = 99) -> object:
        return a, b

    assert called(changed, Arguments(plain, "w").bind((1,), {})) == (1, 99)


def test_reading_stored_args_leaves_them_as_they_are() -> None:
    stored = {"a": 1, "b": 2}
    called(positional_only, stored)
    assert stored == {"a": 1, "b": 2}


def test_an_argument_that_would_overwrite_another_is_refused() -> None:
    def filed(name: str, /, **tags: str) -> None: ...

    with pytest.raises(InvalidArguments, match="'name' is given twice"):
        Arguments(filed, "shop.filed").bind(("a",), {"name": "b"})


def test_arguments_without_names_cannot_be_declared() -> None:
    def listed(a: int, *more: int) -> None: ...

    with pytest.raises(DeclarationError, match=r"shop.listed takes \*args"):
        Arguments(listed, "shop.listed")
