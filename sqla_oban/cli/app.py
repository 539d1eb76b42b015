"""Finding the application: modules and the objects in them, named on the command line."""

import importlib
import inspect
import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from sqla_oban.runner import SqlaOban

EXAMPLE = "shop.app:oban"
INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def imported(module: str) -> ModuleType:
    """The module called `module`, found in the current directory as `python -m` would.

    Raises:
        ClickException: there is none, or it fails while it is imported; the message has the line and the error.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_or_holds(error.name, module) and not _frames(error):
            raise click.ClickException(
                f"there is no module {error.name!r}, neither in {here} nor among what is installed"
            ) from None
        raise click.ClickException(f"importing {module} failed{_told(error)}") from None


def found(spec: str) -> Any:
    """What `spec` names, as in `shop.app:oban` or `shop.app:state.oban`.

    Raises:
        ClickException: there is no such module or attribute, or the module fails while it is imported.
    """
    module, _, path = spec.partition(":")
    target: Any = imported(module)
    for name in path.split("."):
        try:
            target = getattr(target, name)
        except AttributeError:
            close = get_close_matches(name, [known for known in dir(target) if not known.startswith("__")], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise click.ClickException(f"--app {spec}: {_named(target)} has no {name!r}{hint}") from None
        except Exception as error:
            raise click.ClickException(f"--app {spec} failed{_told(error)}") from None
    if not isinstance(target, SqlaOban) and (not callable(target) or isinstance(target, type)):
        raise click.ClickException(f"--app {spec} is {_kind(target)}, not a SqlaOban or a function that returns one")
    return target


async def made(target: SqlaOban | Callable[[], SqlaOban | Awaitable[SqlaOban]], spec: str) -> SqlaOban:
    """The runner that was found, or that the function which was found returns.

    Raises:
        ClickException: the function fails, takes arguments or returns something else.
    """
    if isinstance(target, SqlaOban):
        return target
    try:
        inspect.signature(target).bind()
    except TypeError as error:
        raise click.ClickException(f"--app {spec} is called without arguments: {error}") from None
    try:
        oban = target()
        oban = await oban if isinstance(oban, Awaitable) else oban
    except Exception as error:
        raise click.ClickException(f"calling {spec} failed{_told(error)}") from None
    if not isinstance(oban, SqlaOban):
        raise click.ClickException(f"--app {spec} returned {_kind(oban)}, not a SqlaOban")
    return oban


def checked_spec(spec: str) -> str:
    """`spec`, if it is written as one.

    Raises:
        ValueError: it is not.

    >>> checked_spec("shop/app.py:oban")
    Traceback (most recent call last):
    ValueError: 'shop/app.py' is a file; name the module, as in shop.app:oban
    """
    module, colon, path = spec.partition(":")
    if module.endswith(".py") or "/" in module:
        meant = module.removeprefix("./").removesuffix(".py").replace("/", ".")
        raise ValueError(f"{module!r} is a file; name the module, as in {meant}:{path or 'oban'}")
    names = [*module.split("."), *path.split(".")]
    if not colon or not all(name.isidentifier() for name in names):
        raise ValueError(f"{spec!r} is not written as module:object, as in {EXAMPLE}")
    return spec


def _is_or_holds(name: str | None, module: str) -> bool:
    return name is not None and (module == name or module.startswith(f"{name}."))


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Where in foreign code `error` came up: without this file, the machinery of imports, and code of no file.

    The last is written while a program runs, as `<frozen importlib._bootstrap>` or by SQLAlchemy's decorators.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return [
        frame
        for frame in frames
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<")
    ]


def _told(error: BaseException) -> str:
    """The error, and the last line of the application's own that led to it."""
    frames = _frames(error)
    own = [frame for frame in frames if not frame.filename.startswith(INSTALLED)] or frames
    lines = "".join(traceback.format_exception_only(error)).splitlines()
    if isinstance(error, SyntaxError) and error.filename:
        words = next(line for line in lines if line.startswith(type(error).__name__))
        return f" at {_short(error.filename)}, line {error.lineno}: {words}"
    words = lines[0]
    if not own:
        return f": {words}"
    line = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f" at {_short(own[-1].filename)}, line {own[-1].lineno}, `{line}`: {words}{_missing_driver(error)}"


def _missing_driver(error: BaseException) -> str:
    """What to do where the address of an engine names no driver that is installed."""
    if isinstance(error, ModuleNotFoundError) and error.name in ("psycopg", "psycopg2"):
        return (
            "; write the address as postgresql+asyncpg://, or as postgresql+psycopg:// and install sqla-oban[psycopg]"
        )
    return ""


def _short(file: str) -> str:
    inside = os.path.relpath(file)
    return file if inside.startswith("..") else inside


def _named(target: object) -> str:
    return f"the module {target.__name__}" if isinstance(target, ModuleType) else _kind(target)


def _kind(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    return "None" if value is None else f"an object of type {type(value).__qualname__}"
