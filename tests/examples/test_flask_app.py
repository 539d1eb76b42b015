from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL, text

from tests.cli.command import TIMEOUT
from tests.examples.server import free_port, get, poll, running, wait_until
from tests.migrations.database import begun

FLASK = ("flask", "--app", "examples.flask_app.app")


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_an_order_that_a_sync_application_stores_is_confirmed_by_a_runner_beside_it(
    driver: str, url: URL, tmp_path: Path
) -> None:
    address = url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    port, log, runner_log = free_port(), tmp_path / "log", tmp_path / "runner.log"
    here = f"http://127.0.0.1:{port}/orders"
    with running(*FLASK, "init-db", log=log, DATABASE_URL=address) as process:
        assert process.wait() == 0, log.read_text()
    with running(*FLASK, "run", "--port", str(port), log=log, DATABASE_URL=address) as process:
        wait_until(process, log, here)
        made = httpx.post(here, json={"item": "a bicycle"}, timeout=TIMEOUT)
        assert (made.status_code, made.json()) == (201, {"id": 1, "item": "a bicycle"})
        assert get(f"{here}/1").json()["confirmed"] is False, "nobody runs jobs yet"
        run = ("sqla-oban", "run", "--app", "examples.flask_app.runner:oban")
        with running(*run, log=runner_log, DATABASE_URL=address):
            assert poll(f"{here}/1", "confirmed") is True
    with begun(url) as connection:
        assert connection.execute(text("SELECT worker, state FROM oban_jobs")).all() == [
            ("orders.confirm", "completed")
        ]
        assert connection.scalar(text("SELECT count(*) FROM oban_producers")) == 0
