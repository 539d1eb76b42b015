from pathlib import Path

import pytest

from sqla_oban.cli.configuration.sources import from_environment, from_file
from sqla_oban.errors import ConfigurationError


def test_the_file_in_the_directory_is_read(here: Path) -> None:
    (here / "sqla_oban.toml").write_text('node = "a"')
    assert from_file(None, here).values == {"node": "a"}


def test_a_pyproject_without_our_table_is_none_of_ours(here: Path) -> None:
    (here / "pyproject.toml").write_text("[tool.ruff]\nline-length = 120")
    assert from_file(None, here).values == {}


def test_a_file_that_was_given_is_the_only_one_read(here: Path) -> None:
    (here / "sqla_oban.toml").write_text('node = "a"')
    (here / "pyproject.toml").write_text('[tool.sqla_oban]\nnode = "b"')
    (here / "other.toml").write_text('node = "c"')
    assert from_file(here / "other.toml", here).values == {"node": "c"}
    assert from_file(here / "pyproject.toml", here).values == {"node": "b"}


def test_two_files_are_refused(here: Path) -> None:
    (here / "sqla_oban.toml").write_text('node = "a"')
    (here / "pyproject.toml").write_text('[tool.sqla_oban]\nnode = "b"')
    with pytest.raises(ConfigurationError, match=r"sqla_oban\.toml and in .* of pyproject\.toml; keep one"):
        from_file(None, here)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[tool]\nsqla_oban = 1", "tool.sqla_oban in pyproject.toml must be a table"),
        (b"tool = 1", "tool in pyproject.toml must be a table"),
        (b"\xff", "is no TOML"),
        (b"a = 1\na = 2", "is no TOML"),
    ],
)
def test_a_file_that_is_none_is_refused(content: bytes, complaint: str, here: Path) -> None:
    (here / "pyproject.toml").write_bytes(content)
    with pytest.raises(ConfigurationError) as refusal:
        from_file(None, here)
    assert complaint in str(refusal.value)


def test_a_file_that_was_given_has_to_be_there(here: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        from_file(here / "nowhere.toml", here)
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        from_file(here, here)


def test_two_underscores_stand_for_a_dot() -> None:
    found = from_environment({"SQLA_OBAN_PRUNER__MAX_AGE__COMPLETED": "1", "SQLA_OBAN_NODE": "a", "HOME": "/"})
    assert found.values == {"pruner": {"max_age": {"completed": "1"}}, "node": "a"}
    assert found.named(("pruner", "max_age")) == "SQLA_OBAN_PRUNER__MAX_AGE in the environment"


@pytest.mark.parametrize("variable", ["SQLA_OBAN_CONFIG", "SQLA_OBAN_TEST_URL"])
def test_a_variable_with_a_meaning_of_its_own_is_no_setting(variable: str) -> None:
    assert from_environment({variable: "x.toml"}).values == {}


def test_a_variable_for_a_table_beside_one_for_a_value_in_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SQLA_OBAN_STAGER__LIMIT beside a variable for the whole 'stager'"):
        from_environment({"SQLA_OBAN_STAGER": "1", "SQLA_OBAN_STAGER__LIMIT": "2"})
