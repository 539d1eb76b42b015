from pathlib import Path

import httpx
from sqlalchemy import URL, text

from tests.cli.command import TIMEOUT
from tests.examples.server import free_port, get, poll, running, wait_until
from tests.migrations.database import begun


def test_an_order_is_confirmed_by_its_job_and_the_application_stops_its_runner(url: URL, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    here = f"http://127.0.0.1:{port}/orders"
    given = {"DATABASE_URL": url.render_as_string(hide_password=False)}
    with running("uvicorn", "examples.litestar_app.app:app", "--port", str(port), log=log, **given) as process:
        wait_until(process, log, here)
        made = httpx.post(here, json={"item": "a bicycle"}, timeout=TIMEOUT)
        assert (made.status_code, made.json()) == (201, {"id": 1, "item": "a bicycle"})
        assert poll(f"{here}/1", "confirmed_at")
        assert get(f"{here}/2").status_code == 404
    assert "Application shutdown complete" in log.read_text()
    with begun(url) as connection:
        assert connection.execute(text("SELECT worker, state FROM oban_jobs")).all() == [
            ("orders.confirm", "completed")
        ]
        assert connection.scalar(text("SELECT count(*) FROM oban_producers")) == 0
