import signal
from collections.abc import Callable

from sqlalchemy import URL

from tests.cli.command import running
from tests.cli.operating.conftest import Command


def test_shows_queues_running_jobs_and_failures(
    cli: Command, add: Callable[..., int], node: Callable[..., str]
) -> None:
    producer = node("mailers")
    add(queue="'mailers'", state="'executing'", worker="'runs'", attempted_by=f"ARRAY['node-1', '{producer}']")
    add(queue="'mailers'", state="'retryable'", worker="'failed'")
    done = cli("top", "--once")
    assert done.code == 0
    assert "1 node, 1 running" in done.out
    assert done.out.index("runs") < done.out.index("to be tried again") < done.out.index("failed")
    data = cli("top", "--json").data
    assert [job["worker"] for job in data["executing"]] == ["runs"]
    assert [job["worker"] for job in data["failing"]] == ["failed"]


def test_goes_on_until_it_is_interrupted(cli: Command, add: Callable[..., int], database_url: URL) -> None:
    url = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with running("top", "--interval", "0.2", "--url", url) as top:
        top.read_until("0 nodes, 0 running")
        add(worker="'came_later'", state="'executing'")
        top.read_until("came_later")
        top.process.send_signal(signal.SIGINT)
        code, complaint = top.end()
    assert (code, complaint.strip()) == (0, "")
