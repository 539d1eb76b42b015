"""A Python that oban.py runs on, with oban.py installed; it is never imported into our own process."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

OLDEST_PYTHON = (3, 12)
NAMES = ("python3.14", "python3.13", "python3.12")


def python_with(requirement: str) -> Path:
    """The interpreter of a virtual environment that holds `requirement`, made once and kept between runs.

    Skips the test where there is no Python that is new enough, or no registry.
    """
    base = new_enough()
    if base is None:
        pytest.skip("oban.py needs Python 3.12 or newer: put one on PATH or name it in SQLA_OBAN_INTEROP_PYTHON")
    key = hashlib.sha256(f"{base} {requirement}".encode()).hexdigest()[:12]
    kept = Path(tempfile.gettempdir()) / f"sqla-oban-interop-{os.getuid()}" / key
    if not (kept / "bin/python").exists():
        make(base, requirement, kept)
    return kept / "bin/python"


def new_enough() -> Path | None:
    """The Python that is named in the environment, else this one, one on PATH, or one of pyenv's."""
    if named := os.environ.get("SQLA_OBAN_INTEROP_PYTHON"):
        assert answers(Path(named)), f"SQLA_OBAN_INTEROP_PYTHON is {named}, which is no Python 3.12 or newer"
        return Path(named)
    return next((python for python in candidates() if answers(python)), None)


def candidates() -> Iterator[Path]:
    if sys.version_info >= OLDEST_PYTHON:
        yield Path(sys.executable)
    yield from (Path(found) for name in NAMES if (found := shutil.which(name)))
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    numbered = [path for path in versions.glob("3.*") if re.fullmatch(r"3\.\d+\.\d+", path.name)]
    yield from (path / "bin/python" for path in sorted(numbered, key=version, reverse=True) if version(path)[1] >= 12)


def version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.name.split("."))


def answers(python: Path) -> bool:
    """Whether it is there, works and is new enough: pyenv's shims are there for versions that are not chosen."""
    ask = f"import ensurepip, sys, venv; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    try:
        return subprocess.run([python, "-c", ask], capture_output=True, check=False, timeout=30).returncode == 0
    except OSError:
        return False


def make(base: Path, requirement: str, kept: Path) -> None:
    """Made under another name and moved into place, so that nobody finds half of one."""
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=kept.parent))
    try:
        subprocess.run([base, "-m", "venv", made], check=True, capture_output=True)
        pip: list[str | Path] = [made / "bin/python", "-m", "pip", "install", "--quiet", "--retries", "1", requirement]
        installed = subprocess.run(pip, check=False, capture_output=True, text=True)
        if installed.returncode != 0:
            said = installed.stderr.strip() or "nothing"
            pytest.skip(f"pip could not install {requirement!r}: {said.splitlines()[-1]}")
        if not kept.exists():
            made.rename(kept)
    finally:
        shutil.rmtree(made, ignore_errors=True)
