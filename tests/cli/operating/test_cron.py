from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from tests.cli.operating.conftest import Command

WORKERS = """
from sqla_oban import job

@job(name="cli_cron.report", queue="reports", priority=3)
async def report(kind: str) -> None: ...
"""


def test_an_entry_is_added_listed_paused_resumed_and_removed(cli: Command, connection: Connection) -> None:
    added = cli("cron", "add", "nightly", "0 3 * * *", "shop.report", "--args", '{"kind": "all"}', "--queue", "slow")
    assert added.code == 0, added.err
    assert added.out.startswith("nightly is added; its next tick is ")
    assert " 03:00:00" in added.out
    line = cli("cron", "list").out.rstrip().splitlines()[-1]
    assert line.split()[:6] == ["nightly", "0", "3", "*", "*", "*"]
    assert line.split()[6:10] == ["UTC", "shop.report", "slow", "added"]
    (entry,) = cli("cron", "list", "--json").data["entries"]
    assert (entry["name"], entry["args"], entry["paused"]) == ("nightly", {"kind": "all"}, False)
    assert entry["next_tick"].endswith("T03:00:00+00:00")

    assert cli("cron", "pause", "nightly").out == "nightly is paused\n"
    assert "added, paused" in cli("cron", "list").out
    assert cli("cron", "resume", "nightly", "--json").data == {"name": "nightly", "paused": False}
    assert cli("cron", "remove", "nightly").out == "nightly is removed\n"
    assert connection.scalar(text("SELECT count(*) FROM oban_crons")) == 0


def test_an_entry_takes_what_a_declared_worker_says(
    cli: Command, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cli_cron_workers.py").write_text(WORKERS)
    monkeypatch.chdir(tmp_path)
    done = cli("cron", "add", "n", "@daily", "cli_cron.report", "--import", "cli_cron_workers", "--priority", "5")
    assert done.code == 0, done.err
    assert tuple(connection.execute(text("SELECT queue, priority FROM oban_crons")).one()) == ("reports", 5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "n", "nonsense", "w"), "nonsense"),
        (("add", "n", "@daily", "w", "--timezone", "Mars/Olympus"), "Mars/Olympus"),
        (("pause", "lost"), "the crontab has no entry 'lost'"),
        (("remove", "lost"), "the crontab has no entry 'lost'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments: tuple[str, ...], sentence: str, cli: Command) -> None:
    done = cli("cron", *arguments)
    assert (done.code, done.out) == (1, "")
    assert sentence in done.err
    assert done.err.count("\n") == 1


def test_an_entry_that_nobody_understands_is_listed_all_the_same(cli: Command, connection: Connection) -> None:
    connection.execute(text("INSERT INTO oban_crons (name, expression, worker) VALUES ('odd', 'nonsense', 'w')"))
    assert cli("cron", "list", "--json").data["entries"][0]["next_tick"] is None
