"""`sqla-oban web`: the dashboard from the command line."""

import re
import signal
import socket
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL

from tests.cli.command import TIMEOUT, refused, run
from tests.cli.command import running as under_way
from tests.cli.test_main import uninstall
from tests.examples.server import free_port, get, running, wait_until


@pytest.mark.parametrize("write", [False, True])
def test_it_serves_the_dashboard_read_only_unless_told_otherwise(
    write: bool, database_url: URL, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    address = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    options = ["--url", address, "--port", str(port), *(["--write", "--metrics"] if write else [])]
    with running("sqla-oban", "web", *options, log=log) as process:
        wait_until(process, log, url)
        assert "Queues" in get(f"{url}/queues").text
        assert ("Pause all" in get(f"{url}/queues").text) == write
        assert get(f"{url}/metrics").status_code == (200 if write else 404)
        assert get(url, headers={"host": "evil.example"}).status_code == 400  # DNS that was made to lead here
    assert ("read-only; --write lets" in log.read_text()) == (not write)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_silence_though_a_page_is_open(number: signal.Signals, database_url: URL) -> None:
    address = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with under_way("web", "--port", "0", "--url", address) as web:
        web.read_until("The dashboard is at ")
        url = re.findall("http://[^/]*/", web.said)[0]
        with httpx.stream("GET", f"{url}?live=1", timeout=TIMEOUT) as page:
            said = page.iter_lines()
            assert "event: page" in said
            web.process.send_signal(number)
            list(said)
        code, complaint = web.end()
    late = [line for line in complaint.splitlines() if line.startswith("the dashboard could not be brought up to date")]
    assert (code, complaint.splitlines()) == (0, late), "but for a PostgreSQL that was slow before"


def test_a_port_that_is_taken_is_one_sentence(database_url: URL) -> None:
    address = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused("web", "--url", address, "--port", str(taken.getsockname()[1]))
    assert "another port is chosen by --port" in said


def test_it_lets_nobody_else_write() -> None:
    done = run("web", "--url", "postgresql://localhost/x", "--host", "0.0.0.0", "--write")
    assert done.returncode == 2
    assert "authorize" in done.stderr


def test_it_asks_for_a_database() -> None:
    assert "Missing option" in run("web").stderr


def test_it_asks_for_the_extra_where_that_is_not_installed(tmp_path: Path) -> None:
    uninstall("starlette", tmp_path)
    done = run("web", "--url", "postgresql://localhost/x", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "pip install 'sqla-oban[web]'" in done.stderr
