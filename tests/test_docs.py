"""What the documentation says is what the code says."""

import re
import tomllib
from pathlib import Path

from sqla_oban.engine import leader
from sqla_oban.states import diagram

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_state_diagram_is_generated_from_the_transition_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in ARCHITECTURE


def test_the_proof_of_the_lease_is_the_one_beside_the_code() -> None:
    assert leader.__doc__ is not None
    _, proof = leader.__doc__.split("\n\n", 1)
    assert proof.strip() in ARCHITECTURE


def test_every_file_that_the_architecture_names_exists() -> None:
    words = ARCHITECTURE.replace("`", " ").replace(",", " ").split()
    named = {word for word in words if word.endswith(".py") and "/" in word}
    assert len(named) > 20
    missing = [word for word in named if not (ROOT / "sqla_oban" / word).exists() and not (ROOT / word).exists()]
    assert missing == []


def test_every_test_that_shows_a_guarantee_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "docs" / "guarantees.md").read_text()))
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_gives_the_two_commands_on_its_first_screen() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:25]
    assert "pip install -e '.[demo]' && sqla-oban demo" in first_screen
    assert "pip install -e '.[dev]' && pytest" in first_screen


EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OF_THE_PROJECT = {"bench", "docs", "dev"}


def test_every_extra_is_told_of_where_one_installs() -> None:
    install = (ROOT / "README.md").read_text().split("## Install\n")[1].split("## ")[0]
    table = (ROOT / "docs" / "index.md").read_text().split("| extra |")[1].split("## ")[0]
    for extra in EXTRAS.keys() - OF_THE_PROJECT:
        assert f"`{extra}`" in install
        assert f"`{extra}`" in table


def test_an_extra_that_is_for_a_command_brings_the_command() -> None:
    for extra in ("web", "demo"):
        assert any(re.match(r"sqla-oban\[.*\bcli\b.*\]", needed) for needed in EXTRAS[extra]), extra
