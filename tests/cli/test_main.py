from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from sqla_oban.cli import main
from tests.cli.command import run


def test_says_its_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"sqla-oban, version {version('sqla-oban')}\n")


def test_lists_its_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert {"check", "demo", "migrate", "run", "web"} <= {
        line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")
    }


def test_an_unknown_command_is_refused() -> None:
    done = run("demon")
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_the_script_and_the_module_are_the_same_command() -> None:
    (script,) = entry_points(group="console_scripts", name="sqla-oban")
    assert script.load() is main


@pytest.mark.parametrize("extra", ["click", "rich"])
def test_asks_for_the_extra_where_it_is_not_installed(extra: str, tmp_path: Path) -> None:
    uninstall(extra, tmp_path)
    done = run("--version", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "The sqla-oban command needs click and rich: pip install 'sqla-oban[cli]'\n"


def test_does_not_blame_the_extra_for_another_missing_module(tmp_path: Path) -> None:
    uninstall("asyncpg", tmp_path)
    done = run("--version", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "No module named 'asyncpg'" in done.stderr
    assert "sqla-oban[cli]" not in done.stderr


def uninstall(module: str, directory: Path) -> None:
    """Let a module that stands in front of the installed one say that there is none."""
    error = f"ModuleNotFoundError(\"No module named '{module}'\", name='{module}')"
    (directory / f"{module}.py").write_text(f"raise {error}\n")
