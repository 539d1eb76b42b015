"""Where settings stand: a TOML file, and the environment."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqla_oban.errors import ConfigurationError

OWN_FILE = "sqla_oban.toml"
PYPROJECT = "pyproject.toml"
PREFIX = "SQLA_OBAN_"
NESTED = "__"
FILE_VARIABLE = f"{PREFIX}CONFIG"
"""Names the file, as --config does."""
TEST_VARIABLE = f"{PREFIX}TEST_URL"
"""Names the server of tests (`sqla_oban.testing.plugin`), and may be set wherever the commands are used too."""


@dataclass(frozen=True, slots=True)
class Source:
    """Settings as they stand somewhere, in nested tables.

    Args:
        place: where, as a message names it.
        values: the settings, not yet looked at.
        written: whether every value is a str still to be read, as in the environment.
    """

    place: str
    values: Mapping[str, Any]
    written: bool = False

    def named(self, path: tuple[str, ...]) -> str:
        """A setting and its place, as a message names them.

        >>> Source("sqla_oban.toml", {}).named(("stager", "interval"))
        'stager.interval in sqla_oban.toml'
        """
        if not path:
            return self.place
        name = PREFIX + NESTED.join(path).upper() if self.written else ".".join(path)
        return f"{name} in {self.place}"


def from_file(given: Path | None, directory: Path) -> Source:
    """The settings of the file that was given, else of the one in `directory`; none are fine there.

    Raises:
        ConfigurationError: the file cannot be read, or there are two.
    """
    if given is not None:
        return _read(given, required=True)
    found = [source for name in (OWN_FILE, PYPROJECT) if (source := _read(directory / name)).values]
    if len(found) > 1:
        raise ConfigurationError(
            f"settings stand in {OWN_FILE} and in [tool.sqla_oban] of {PYPROJECT}; keep one, or say which with --config"
        )
    return found[0] if found else Source(OWN_FILE, {})


def from_environment(environment: Mapping[str, str]) -> Source:
    """The settings among the variables: SQLA_OBAN_NODE is `node`, SQLA_OBAN_STAGER__INTERVAL `stager.interval`.

    Raises:
        ConfigurationError: one variable sets a table as a whole and another a value in it.
    """
    values: dict[str, Any] = {}
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in (FILE_VARIABLE, TEST_VARIABLE):
            continue
        *tables, name = variable.removeprefix(PREFIX).lower().split(NESTED)
        table = values
        for step in tables:
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                raise ConfigurationError(f"the environment has {variable} beside a variable for the whole {step!r}")
        table[name] = value
    return Source("the environment", values, written=True)


def environment() -> Mapping[str, str]:
    """The variables of this process."""
    return os.environ


def _read(file: Path, *, required: bool = False) -> Source:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigurationError(f"there is no file {file}") from None
        return Source(str(file), {})
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigurationError(f"{file} is no TOML: {error}") from None
    if file.name != PYPROJECT:
        return Source(file.name, content)
    table: Any = content
    for path in (("tool",), ("tool", "sqla_oban")):
        table = table.get(path[-1], {})
        if not isinstance(table, dict):
            raise ConfigurationError(f"{'.'.join(path)} in {file.name} must be a table")
    return Source(f"[tool.sqla_oban] of {file.name}", table)
