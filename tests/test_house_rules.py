"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sqla_oban"
SOURCES = sorted(PACKAGE.rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
LAZY_IMPORTS = {
    ("testing/temporary_postgres.py", "pwd"),  # Windows has no such module, and must be able to import this one
}
WALL_CLOCKS = {"now", "utcnow", "today", "time", "localtime", "gmtime"}
READS_THE_WALL_CLOCK = {
    "engine/heartbeat.py",  # told with the beat, for who compares the clocks of nodes
    "models/job.py",  # an estimate, to be read until the INSERT says it exactly
}
OUTSIDE = ("/" + "work/", "../" + "shared")  # in parts: this file is searched as well

Function = ast.FunctionDef | ast.AsyncFunctionDef

every_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
every_file = pytest.mark.parametrize("path", SOURCES + BENCHMARKS, ids=lambda path: str(path.relative_to(ROOT)))


def project_files() -> list[Path]:
    """All that belongs to the project: what git tracks, and what it would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.split("\x00") if listed.returncode == 0 else []
    return [ROOT / name for name in names if name and (ROOT / name).is_file()] or SOURCES


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def body_lines(function: Function) -> int:
    """Lines of the body, without the docstring."""
    documented = ast.get_docstring(function) is not None
    body = function.body[1:] if documented else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or "."] if isinstance(node, ast.ImportFrom) else []


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 30


@every_file
def test_a_file_has_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@every_file
def test_a_function_has_at_most_40_lines(path: Path) -> None:
    assert {one.name: body_lines(one) for one in functions(path) if body_lines(one) > 40} == {}


@every_file
def test_a_class_has_at_most_12_public_methods(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            methods = [one.name for one in node.body if isinstance(one, Function) and not one.name.startswith("_")]
            assert len(methods) <= 12, node.name


@every_file
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@every_source
def test_imports_are_neither_hidden_from_the_runtime_nor_postponed(path: Path) -> None:
    source = path.read_text()
    assert "TYPE_" + "CHECKING" not in source
    lazy = {
        (str(path.relative_to(PACKAGE)), name)
        for function in functions(path)
        for node in ast.walk(function)
        for name in imported(node)
    }
    assert lazy <= LAZY_IMPORTS


def test_every_exception_for_a_postponed_import_is_still_needed() -> None:
    for file, module in LAZY_IMPORTS:
        nodes = [node for function in functions(PACKAGE / file) for node in ast.walk(function)]
        assert any(module in imported(node) for node in nodes)


@every_file
def test_nothing_is_left_to_do(path: Path) -> None:
    unfinished = r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError"
    assert re.findall(unfinished, path.read_text()) == []


def test_no_file_points_outside_of_the_project() -> None:
    pointing = [
        str(path.relative_to(ROOT))
        for path in project_files()
        if any(place in path.read_text(errors="ignore") for place in OUTSIDE)
    ]
    assert pointing == []


def wall_clocks_read(path: Path) -> list[str]:
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    names = (ast.unparse(call) for call in calls if isinstance(call, ast.Attribute) and call.attr in WALL_CLOCKS)
    return [name for name in names if name.startswith(("datetime.", "date.", "time.", "dt."))]


@every_source
def test_nothing_depends_on_the_clock_of_its_machine(path: Path) -> None:
    """It may be an hour off: moments are compared by PostgreSQL, spans are measured by a monotonic clock."""
    name = str(path.relative_to(PACKAGE))
    if not name.startswith(("cli/", "testing/", "telemetry/")):  # which print it, but decide nothing by it
        assert bool(wall_clocks_read(path)) == (name in READS_THE_WALL_CLOCK)
