import subprocess

import pytest
from click.testing import CliRunner

from sqla_oban.cli.commands import commands
from tests.cli.command import SCRIPT, TIMEOUT, environment


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    result = CliRunner().invoke(commands, ["completion", shell])
    assert result.exit_code == 0
    assert f"_SQLA_OBAN_COMPLETE={shell}_complete" in result.stdout


def test_commands_and_values_are_completed() -> None:
    asked = {"_SQLA_OBAN_COMPLETE": "bash_complete", "COMP_CWORD": "4"}
    words = environment(COMP_WORDS="sqla-oban jobs list --state exec", **asked)
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False, timeout=TIMEOUT, env=words)
    assert "executing" in done.stdout
