import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from sqla_oban.cli.demo.steps import STEPS
from tests.cli.command import TIMEOUT, left_behind, node_pids, run, running
from tests.cli.conftest import Contents
from tests.support import eventually

TITLES = [step.lesson.title for step in STEPS]


def test_shows_everything_on_a_server_of_its_own_and_leaves_nothing() -> None:
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert summary(done.stdout) == [("ok", title) for title in TITLES]
    assert left_behind(done.stdout) == []
    assert "temporary PostgreSQL runs in /" in done.stdout
    assert len(node_pids(done.stdout)) == 2


def test_what_is_no_terminal_gets_a_plain_log() -> None:
    done = run("demo", "--patience", "0.001", FORCE_COLOR="1")
    assert [line for line in done.stdout.splitlines() if not (line.isascii() and line.isprintable())] == []


def test_a_terminal_sees_steps_turn_into_ticks_and_the_database_is_left_as_it_was(
    url: str, contents: Callable[[], Contents]
) -> None:
    before = contents()
    code, seen = run_in_terminal("demo", "--url", url)
    assert code == 0, seen
    assert "\x1b[" in seen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert [title for title in TITLES if f"✓ {title}" not in plain] == []
    assert "What the database said" in plain
    assert left_behind(plain) == []
    assert contents() == before


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "postgresql+psycopg"])
def test_what_is_not_shown_in_time_fails(driver: str, url: str, contents: Callable[[], Contents]) -> None:
    before = contents()
    done = run("demo", "--patience", "0.001", "--url", url.replace("postgresql", driver, 1))
    assert (done.returncode, done.stderr) == (1, ""), done.stdout
    assert ("NOT SHOWN", TITLES[0]) in summary(done.stdout)
    assert [title for _, title in summary(done.stdout)] == TITLES
    assert left_behind(done.stdout) == []
    assert contents() == before


def test_a_node_that_ends_by_itself_ends_the_demonstration() -> None:
    with running("demo") as demo:
        demo.read_until("step 1")
        os.kill(node_pids(demo.said)[0], signal.SIGKILL)
        code, complaint = demo.end()
    assert (code, complaint) == (1, "Error: node-1 ended unexpectedly: it said nothing\n")
    assert left_behind(demo.said) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ends_cleanly_when_interrupted(number: signal.Signals, url: str, contents: Callable[[], Contents]) -> None:
    before = contents()
    with running("demo", "--url", url) as demo:
        demo.read_until("step 3")
        demo.process.send_signal(number)
        code, complaint = demo.end()
    assert (code, complaint.strip()) == (1, "Aborted!")
    assert "summary" not in demo.said
    assert node_pids(demo.said) != []
    assert left_behind(demo.said) == []
    assert contents() == before


def test_the_temporary_server_goes_when_interrupted() -> None:
    with running("demo") as demo:
        demo.read_until("sqla_oban.demo.pack, attempt 1")
        demo.process.send_signal(signal.SIGINT)
        code, complaint = demo.end()
    assert (code, complaint.strip()) == (1, "Aborted!")
    assert left_behind(demo.said) == []


async def test_nodes_and_server_do_not_outlive_a_killed_demonstration() -> None:
    with running("demo") as demo:
        demo.read_until("step 3")
        assert len(left_behind(demo.said)) > len(node_pids(demo.said)) > 0
        demo.process.kill()
        demo.end()
    await eventually(lambda: left_behind(demo.said) == [], "the end of nodes and server")


def test_a_server_that_cannot_be_reached_is_one_sentence() -> None:
    done = run("demo", "--url", "postgresql://127.0.0.1:1/shop")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot connect to postgresql+asyncpg://127.0.0.1:1/shop: ")
    assert done.stderr.count("\n") == 1


def test_the_url_of_the_settings_is_used() -> None:
    done = run("demo", SQLA_OBAN_URL="postgresql://127.0.0.1:1/shop")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot connect to postgresql+asyncpg://127.0.0.1:1/shop: ")


def summary(said: str) -> list[tuple[str, str]]:
    """Verdict and title of each step, as the summary has them."""
    lines = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("summary ")]
    return [(verdict, title) for verdict, title, *_ in (line.split(" | ") for line in lines)]


def run_in_terminal(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a command in a terminal of its own."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "sqla_oban", *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40", "PYTHONUTF8": "1"},
    ) as process:
        os.close(its)
        seen = b""
        while chunk := read(ours):
            seen += chunk
        process.wait(timeout=TIMEOUT)
    os.close(ours)
    return process.returncode, seen.decode()


def read(terminal: int) -> bytes:
    """What comes next; nothing when the other side is closed, which Linux reports as an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""
