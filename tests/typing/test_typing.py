import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, CLASSES, WRONG = HERE / "api.py", HERE / "class_workers.py", HERE / "wrong_uses.py"


@pytest.fixture(scope="module")
def reported() -> dict[str, dict[int, str]]:
    """What mypy reports of both files, by file and line, under the project's own settings: with the plugin."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-pretty"),
            *("--config-file=pyproject.toml", "--cache-dir=.mypy_cache/typing", RIGHT, CLASSES, WRONG),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    found = re.findall(r"^\S*?(\w+\.py):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    reports: dict[str, dict[int, str]] = {}
    for file, line, message in found:
        reports.setdefault(file, {})[int(line)] = message
    return reports


def test_right_uses_are_accepted(reported: dict[str, dict[int, str]]) -> None:
    assert {**reported.get(RIGHT.name, {}), **reported.get(CLASSES.name, {})} == {}


def test_wrong_uses_are_reported_and_nothing_else_is(reported: dict[str, dict[int, str]]) -> None:
    assert set(reported[WRONG.name]) == marked()


def test_nothing_else_of_the_project_is_reported_on_the_way(reported: dict[str, dict[int, str]]) -> None:
    assert set(reported) == {WRONG.name}


def test_pyright_accepts_the_right_uses_and_reports_the_wrong_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", RIGHT, WRONG],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {
        (Path(one["file"]), one["range"]["start"]["line"] + 1) for one in json.loads(done.stdout)["generalDiagnostics"]
    }
    assert found == {(WRONG, line) for line in marked()}


def marked() -> set[int]:
    """The lines of the wrong uses."""
    lines = {number for number, line in enumerate(WRONG.read_text().splitlines(), start=1) if "# wrong: " in line}
    assert len(lines) > 20
    return lines
