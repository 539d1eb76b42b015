import builtins
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import sqla_oban
from sqla_oban import errors
from sqla_oban.errors import ObanError

PACKAGE = Path(sqla_oban.__path__[0])
PUBLIC = {
    "Batch",
    "After",
    "Workflow",
    "Cancel",
    "Chain",
    "Job",
    "JobState",
    "Peer",
    "QueueConfig",
    "CronJob",
    "QueueInfo",
    "RateLimit",
    "inject",
    "insert_all",
    "Record",
    "Schedule",
    "Snooze",
    "SqlaOban",
    "Unique",
    "current_job",
    "job",
    "make_models",
    "metadata",
    "worker",
}
ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ObanError)]


def tree() -> list[tuple[int, str, str | None]]:
    """The lines of the tree in the docstring: depth, class, and what stands in brackets behind it."""
    lines = re.findall(r"^ {4}([ │├└─]*)(\w+)(?: \(([\w, ]+)\))?", errors.__doc__ or "", re.MULTILINE)
    return [(len(indent) // 4, name, builtin or None) for indent, name, builtin in lines]


def test_the_package_exports_exactly_its_public_names() -> None:
    assert set(sqla_oban.__all__) == PUBLIC


def test_the_public_names_are_sorted_and_named_once() -> None:
    assert sqla_oban.__all__ == sorted(set(sqla_oban.__all__))


@pytest.mark.parametrize("name", sqla_oban.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(importlib.import_module("sqla_oban"), name) is not None


def test_nothing_else_in_the_package_looks_public() -> None:
    modules = {module.name for module in pkgutil.iter_modules(sqla_oban.__path__)}
    names = {name for name in vars(sqla_oban) if not name.startswith(("_", "@"))}  # pytest adds @names to a plugin
    assert names - modules == PUBLIC


@pytest.mark.parametrize(
    "module",
    sorted(
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if path.name != "__main__.py"
    ),
)
def test_a_module_that_names_its_exports_has_them_and_sorts_them(module: str) -> None:
    imported = importlib.import_module(module)
    exports: list[str] = getattr(imported, "__all__", [])
    assert all(hasattr(imported, name) for name in exports)
    assert exports == sorted(set(exports), key=lambda name: (not name.isupper(), not name[:1].isupper(), name))


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_every_class_in_the_errors_module_is_an_oban_error() -> None:
    own = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert own
    assert set(own) == set(ERRORS)


def test_the_tree_in_the_docstring_names_every_error_once() -> None:
    assert sorted(name for _, name, _ in tree()) == sorted(kind.__name__ for kind in ERRORS)


@pytest.mark.parametrize(("depth", "name", "builtin"), tree(), ids=lambda value: str(value))
def test_an_error_stands_in_the_tree_where_it_stands_in_the_code(depth: int, name: str, builtin: str | None) -> None:
    kind = getattr(errors, name)
    ancestry = [base for base in kind.__mro__ if base in ERRORS]
    assert len(ancestry) == depth + 1
    if builtin is not None:
        assert issubclass(kind, getattr(builtins, builtin))
    assert depth == 0 or issubclass(kind, ValueError | TypeError | LookupError | RuntimeError | TimeoutError)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: str(kind.__name__))
def test_an_error_says_what_it_is_for(kind: type[ObanError]) -> None:
    assert "__doc__" in vars(kind)
    assert kind.__doc__
    assert kind.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("prioritty", "@job x has no option 'prioritty'; did you mean 'priority'?"),
        ("zzz", "@job x has no option 'zzz'; known options: priority, queue"),
    ],
)
def test_an_unknown_option_says_which_was_meant_or_which_there_are(option: str, message: str) -> None:
    assert str(errors.UnknownOption(option, {"queue", "priority"}, "@job x")) == message
