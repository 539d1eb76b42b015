"""`sqla-oban run` with ports for probes and for Prometheus."""

import json
import signal
import socket
import urllib.request
from pathlib import Path

from tests.cli.command import running
from tests.examples.server import free_port

WORKERS = """
from sqla_oban import job

@job(name="cli_observed.work")
async def work() -> None: ...
"""


def got(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
        return str(response.read().decode())


def test_health_and_metrics_are_served_while_it_runs(url: str, tmp_path: Path) -> None:
    (tmp_path / "cli_observed.py").write_text(WORKERS)
    port = free_port()
    with running("migrate", "--url", url) as migrate:
        migrate.end()
    ports = ("--health-port", str(port), "--metrics-port", str(port))
    options = ("--url", url, "--queues", "default:2", "--import", "cli_observed", "--node", "seen", *ports)
    with running("run", *options, cwd=tmp_path) as run:
        run.read_until("runs as node seen")
        assert json.loads(got(port, "/ready"))["node"] == "seen"
        assert json.loads(got(port, "/live"))["status"] == "ok"
        assert "# TYPE sqla_oban_jobs_finished_total counter" in got(port, "/metrics")
        run.process.send_signal(signal.SIGTERM)
        code, complaint = run.end()
        assert code == 0, complaint


def test_a_port_that_is_taken_is_one_sentence(url: str) -> None:
    with running("migrate", "--url", url) as migrate:
        migrate.end()
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running("run", "--url", url, "--queues", "default:2", "--health-port", port) as run:
            code, complaint = run.end()
    assert code == 1
    assert f"Error: nothing can be served on port {port}" in complaint
