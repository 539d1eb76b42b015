"""Makes the environments that the peers run in, once, in the user's cache."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks.failure import Unmeasured

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sqla_oban" / "benchmarks"
PATIENCE = 600
"""Seconds an installation may take."""
OLDEST = (3, 12)
"""What oban asks for."""


@cache
def python_with(*requirements: str) -> Path:
    """A Python that has these packages, in a virtual environment of their own.

    Raises:
        Unmeasured: there is no Python of that age, or the packages cannot be installed.
    """
    place = place_of("python", requirements)
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        run(str(find_python()), "-m", "venv", str(place))
        run(str(python), "-m", "pip", "install", "--quiet", *requirements)
        (place / "ready").touch()
    return python


@cache
def node_modules_with(*requirements: str) -> Path:
    """A folder of Node modules with these packages.

    Raises:
        Unmeasured: there is no Node, or the packages cannot be installed.
    """
    if not shutil.which("node") or not shutil.which("npm"):
        raise Unmeasured("there is no Node.js here")
    place = place_of("node", requirements)
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        run("npm", "install", "--silent", "--prefix", str(place), *requirements)
        (place / "ready").touch()
    return place / "node_modules"


def find_python() -> Path:
    """The newest Python that all peers run on, from the PATH or pyenv.

    Raises:
        Unmeasured: there is none.
    """
    for candidate in candidates():
        asked = subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False, timeout=30)
        if asked.returncode == 0:  # pyenv puts commands on the PATH that do nothing but complain
            return candidate
    raise Unmeasured(f"there is no Python {OLDEST[0]}.{OLDEST[1]} or newer here")


def candidates() -> Iterator[Path]:
    """Pythons that may serve, the newest that all peers are built for first."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for minor in (13, 12):
        if found := shutil.which(f"python3.{minor}"):
            yield Path(found)
        yield from sorted(pyenv.glob(f"3.{minor}.*/bin/python"))


def place_of(kind: str, requirements: tuple[str, ...]) -> Path:
    """Where an environment with these packages is, or is to be made."""
    fingerprint = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    return CACHE / f"{kind}-{fingerprint}"


def run(*command: str) -> None:
    """Run a step of an installation.

    Raises:
        Unmeasured: it failed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise Unmeasured(f"`{' '.join(command)}` took more than {PATIENCE} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unmeasured(f"`{command[0]}` could not install it: {said[-1] if said else done.returncode}")
