"""An empty current directory, and no settings of the tester's own."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("SQLA_OBAN_"):
            monkeypatch.delenv(name)
    return tmp_path
