from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, text

from sqla_oban.cli.commands import commands
from sqla_oban.cli.operating import bulk
from sqla_oban.control.jobs import Jobs
from tests.cli.operating.conftest import Command

Add = Callable[..., int]
States = Callable[[], list[str]]


def test_jobs_are_listed_with_the_newest_first(cli: Command, add: Add) -> None:
    add(queue="'mailers'", worker="'shop.send'", args="""'{"order": 7}'""")
    add(queue="'media'", state="'completed'")
    done = cli("jobs", "list")
    assert (done.code, done.err) == (0, "")
    heading, _, second, first = [line for line in done.out.splitlines() if line.strip()]
    assert heading.split()[:4] == ["id", "state", "queue", "worker"]
    assert second.split()[:4] == ["2", "completed", "media", "w"]
    assert first.split()[:4] == ["1", "available", "mailers", "shop.send"]
    assert '{"order": 7}' in first


def test_a_list_for_programs_says_where_the_next_page_begins(cli: Command, add: Add) -> None:
    for _ in range(3):
        add(queue="'mailers'")
    first = cli("jobs", "list", "--json", "--limit", "2").data
    assert [job["id"] for job in first["jobs"]] == [3, 2]
    second = cli("jobs", "list", "--json", "--limit", "2", "--after", first["after"]).data
    assert ([job["id"] for job in second["jobs"]], second["after"]) == ([1], None)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--queue", "a", "--queue", "b"), [2, 1]),
        (("--state", "completed"), [2]),
        (("--worker", "other"), [1]),
        (("--tag", "red"), [3]),
        (("--tag", "red", "--tag", "green"), [3]),
        (("--args", "n:1"), [3]),
        (("--args", "n:1", "--args", "n:2"), []),
        (("--meta", "a.b:x"), [2]),
        (("--priority", "4"), [2]),
        (("--node", "n"), [1]),
    ],
)
def test_jobs_are_listed_by_what_they_are(options: tuple[str, ...], found: list[int], cli: Command, add: Add) -> None:
    add(queue="'a'", worker="'other'", attempted_by="ARRAY['n', 'x']")
    done = {"state": "'completed'", "completed_at": "timezone('UTC', now())"}
    add(queue="'b'", **done, priority="4", meta="""'{"a": {"b": "x"}}'""")
    add(queue="'c'", tags="ARRAY['red']", args="""'{"n": 1}'""")
    assert [job["id"] for job in cli("jobs", "list", "--json", *options).data["jobs"]] == found


def test_an_entity_among_the_arguments_is_found_by_its_key(cli: Command, add: Add) -> None:
    add(args="""'{"order": {"$entity": "Order", "pk": [1]}}'""")
    add(args="""'{"order": {"$entity": "Order", "pk": [1, 2]}}'""")
    add(args="""'{"order": {"pk": [1]}}'""")
    assert [job["id"] for job in cli("jobs", "list", "--json", "--args", "order:1").data["jobs"]] == [1]


@pytest.mark.parametrize("command", [("list",), ("retry", "--yes")])
def test_a_worker_that_is_not_named_in_full_is_hinted_at(command: tuple[str, ...], cli: Command, add: Add) -> None:
    add(worker="'shop.app.charge'", state="'discarded'")
    hint = "a worker is named as it is stored, in full; did you mean shop.app.charge?\n"
    for worker, told in (("charge", hint), ("harge", ""), ("sqla_oban.demo.pack", "")):
        done = cli("jobs", *command, "--worker", worker)
        assert (done.code, done.err) == (0, told)


def test_what_is_stored_cannot_speak_to_the_terminal(cli: Command, add: Add) -> None:
    add(worker="E'\\x1b[31mred'", queue="'[bold]q[/bold]'")
    for command in (("jobs", "list"), ("jobs", "show", "1"), ("top", "--once")):
        done = cli(*command)
        assert "\x1b" not in done.out
        assert "[bold]q[/bold]" in done.out


def test_a_job_is_shown_with_its_errors(cli: Command, add: Add) -> None:
    one = add(state="'retryable'", errors="""'[{"at": "2026", "attempt": 1, "error": "Traceback\\nValueError: no"}]'""")
    done = cli("jobs", "show", str(one))
    assert done.code == 0
    assert "attempt 1 at 2026:\nTraceback\nValueError: no" in done.out
    shown = cli("jobs", "show", str(one), "--json").data
    assert (shown["id"], shown["state"], shown["errors"][0]["attempt"]) == (one, "retryable", 1)


def test_a_job_that_is_not_there_is_an_error(cli: Command) -> None:
    done = cli("jobs", "show", "7")
    assert (done.code, done.out, done.err) == (1, "", "Error: there is no job 7\n")


@pytest.mark.parametrize(
    ("verb", "state", "past", "after"),
    [
        ("retry", "discarded", "retried", ["available"]),
        ("cancel", "available", "cancelled", ["cancelled"]),
        ("delete", "completed", "deleted", []),
    ],
)
def test_jobs_are_changed_by_their_ids_without_a_question(
    verb: str, state: str, past: str, after: list[str], cli: Command, add: Add, states: States
) -> None:
    one = add(state=f"'{state}'")
    done = cli("jobs", verb, str(one), "--json")
    assert (done.code, done.data) == (0, {past: 1})
    assert states() == after
    again = cli("jobs", verb, "999")
    assert (again.code, again.err) == (1, f"Error: there is no job 999 that could be {past}\n")


def test_many_jobs_are_changed_after_a_question_that_says_how_many(
    cli: Command, add: Add, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state in ("'discarded'", "'cancelled'", "'executing'"):
        add(state=state, queue="'mailers'")
    add(state="'discarded'", queue="'media'")

    refused = cli("jobs", "retry", "--queue", "mailers", input="n\n")
    assert refused.code == 1
    assert "retry 2 jobs? [y/N]" in refused.err
    assert states() == ["discarded", "cancelled", "executing", "discarded"]

    assert cli("jobs", "retry", "--queue", "mailers", input="y\n").out == "2 jobs retried\n"
    assert states() == ["available", "available", "executing", "discarded"]


def test_many_jobs_are_changed_in_many_transactions(
    cli: Command, add: Add, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    cancel = Jobs.cancel

    async def noted(own: Jobs, which: Any) -> int:
        sizes.append(await cancel(own, which))
        return sizes[-1]

    monkeypatch.setattr(bulk, "found", partial(bulk.found, size=2))
    monkeypatch.setattr(Jobs, "cancel", noted)
    for _ in range(5):
        add()
    done = cli("jobs", "cancel", "--all", "--yes", "--json")
    assert (done.data, sizes) == ({"cancelled": 5}, [2, 2, 1])
    assert states() == ["cancelled"] * 5


def test_a_job_that_is_not_meant_any_more_when_its_turn_comes_is_left_alone(
    cli: Command, add: Add, states: States, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = Jobs.cancel

    async def beside_a_claim(own: Jobs, which: Any) -> int:
        changed = await cancel(own, which)
        connection.execute(text("UPDATE oban_jobs SET state = 'executing' WHERE state = 'scheduled'"))
        return changed

    monkeypatch.setattr(bulk, "found", partial(bulk.found, size=1))
    monkeypatch.setattr(Jobs, "cancel", beside_a_claim)
    for _ in range(2):
        add(state="'scheduled'")
    assert cli("jobs", "cancel", "--state", "scheduled", "--yes", "--json").data == {"cancelled": 1}
    assert states() == ["cancelled", "executing"]


def test_nothing_to_change_is_no_error_and_asks_nothing(cli: Command, add: Add) -> None:
    add(state="'completed'")
    for options in (("--queue", "none"), ("--state", "completed")):
        done = cli("jobs", "cancel", *options)
        assert (done.code, done.out, done.err) == (0, "there are no jobs to be cancelled\n", "")


@pytest.mark.parametrize("said", [(), ("1", "--all"), ("1", "--queue", "a"), ("--all", "--queue", "a")])
def test_which_jobs_has_to_be_said_in_one_way(said: tuple[str, ...], cli: Command) -> None:
    done = cli("jobs", "delete", *said, "--yes")
    assert done.code == 2
    assert "Say which jobs to delete" in done.err


def test_a_program_is_not_asked(cli: Command, add: Add, states: States) -> None:
    add()
    done = cli("jobs", "delete", "--all", "--json")
    assert (done.code, done.out) == (2, "")
    assert "Say --yes" in done.err
    assert states() == ["available"]


@pytest.mark.parametrize("args", ["n", ":1", ""])
def test_what_is_no_path_with_a_value_is_a_wrong_usage(args: str, cli: Command) -> None:
    assert cli("jobs", "list", "--args", args).code == 2


def test_a_database_has_to_be_named() -> None:
    result = CliRunner().invoke(commands, ["jobs", "list"], env={"SQLA_OBAN_URL": None})
    assert result.exit_code == 2
    assert "Missing option '--url' or '--app'" in result.stderr


@pytest.mark.parametrize(
    "columns",
    [{"scheduled_at": "'20000-01-01'"}, {"args": "jsonb_build_object('n', repeat('9', 5000)::numeric)"}],
    ids=["a year", "a number"],
)
def test_a_job_that_python_cannot_read_is_one_sentence(columns: dict[str, str], cli: Command, add: Add) -> None:
    done = cli("jobs", "show", str(add(**columns)))
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "job 1 holds a value that Python cannot read" in done.err


MISSED = ["jobs list", "jobs show 1", "jobs cancel 1", "jobs retry --all --yes", "queues list", "top", "workflows list"]


@pytest.mark.parametrize("command", MISSED)
def test_that_the_tables_are_missing_is_said_with_what_to_do(command: str, cli: Command) -> None:
    done = cli(*command.split(), "--schema", "nowhere")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Error: the database has no sqla_oban tables")
    assert done.err.count("\n") == 1
