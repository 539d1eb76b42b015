"""The reference names all that is public, and nothing that is not there."""

import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sqla_oban
from sqla_oban import errors, observe, settings, telemetry, testing, web
from sqla_oban.telemetry import events

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
NAMES = [name for path in REFERENCE.glob("*.md") for name in re.findall(r"^::: (\S+)$", path.read_text(), re.MULTILINE)]
PUBLIC = [
    (module, name)
    for module in (sqla_oban, observe, settings, telemetry, events, testing, web)
    for name in module.__all__
]


def described() -> list[Any]:
    found = [pkgutil.resolve_name(name) for name in NAMES]
    modules = [one for one in found if isinstance(one, ModuleType) and hasattr(one, "__all__")]
    return found + [getattr(module, name) for module in modules if module is events for name in module.__all__]


def test_what_the_reference_names_is_there_and_named_once() -> None:
    assert all(one is not None for one in described())
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=lambda value: getattr(value, "__name__", value))
def test_a_public_name_is_in_the_reference(module: ModuleType, name: str) -> None:
    wanted = getattr(module, name)
    assert any(one is wanted for one in described())


def test_the_errors_are_described_as_a_whole() -> None:
    assert errors.__name__ in NAMES
