"""Runs `sqla-oban` as a user does, and looks for what it left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

TIMEOUT = 120
"""Seconds after which a command hangs; how long it takes is never asserted."""


SCRIPT = Path(sysconfig.get_path("scripts")) / "sqla-oban"
"""The installed console script."""


def run(*arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """The finished command."""
    return subprocess.run(
        [sys.executable, "-m", "sqla_oban", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        cwd=cwd,
        env=environment(**more),
    )


def refused(*arguments: str, cwd: Path | None = None, **more: str) -> str:
    """What a command says that fails as it should: one line, and nothing of Python's."""
    done = run(*arguments, cwd=cwd, **more)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def environment(**more: str) -> dict[str, str]:
    """The variables of this process, without settings that somebody tests with."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SQLA_OBAN_")}
    return {**plain, **more}


class Running:
    """A command under way, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""

    def read_until(self, words: str) -> None:
        """Read what it says until it has said `words`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if words in line:
                return
        raise AssertionError(f"it ended without {words!r}: {self.said}")

    def end(self) -> tuple[int, str]:
        """Read what it still says; its exit code, and what it complained about."""
        said, complaint = self.process.communicate(timeout=TIMEOUT)
        self.said += said
        return self.process.returncode, complaint


@contextlib.contextmanager
def running(*arguments: str, cwd: Path | None = None, **more: str) -> Iterator[Running]:
    """The command under way, by its installed script; killed at the end if it still is."""
    with subprocess.Popen(
        [SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(**more),
        # A shell has jobs in the background ignore Ctrl-C, and their children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def node_pids(said: str) -> list[int]:
    """The ids of the node processes that the demonstration started."""
    return [int(pid) for pid in re.findall(r"starts as process (\d+)", said)]


def left_behind(said: str) -> list[str]:
    """What is left of the processes and directories that the demonstration spoke of."""
    directories = re.findall(r"runs in (\S+) and", said)
    pids = {str(pid) for pid in node_pids(said)}
    listed = subprocess.run(["ps", "-A", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True)
    processes = [
        line
        for line in listed.stdout.splitlines()
        for pid, state, command in [line.split(maxsplit=2)]
        if not state.startswith("Z") and (pid in pids or any(directory in command for directory in directories))
    ]
    return processes + [directory for directory in directories if Path(directory).exists()]
