from collections.abc import Callable

import pytest
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from sqla_oban import Workflow
from tests.cli.operating.conftest import Command
from tests.shop import noop


@pytest.fixture
def store(connection: Connection) -> Callable[[], int]:
    """Stores a workflow; returns its id."""

    def stored() -> int:
        workflow = Workflow(name="import")
        for name, deps in {"extract": [], "load": ["extract"], "report": ["extract", "load"]}.items():
            workflow.add(name, noop.new(), deps=deps)
        with Session(connection.engine.execution_options(isolation_level="READ COMMITTED")) as session, session.begin():
            session.add(workflow)
            session.flush()
            return workflow.id

    return stored


def test_workflows_are_listed_with_the_newest_first(cli: Command, store: Callable[[], int]) -> None:
    ids = [store() for _ in range(3)]
    done = cli("workflows", "list", "--limit", "2")
    assert (done.code, done.err) == (0, f"there are more: --before {ids[1]}\n")
    lines = [line.split()[:5] for line in done.out.splitlines() if line.strip()]
    assert lines[2:] == [[str(one), "import", "executing", "0", "3"] for one in (ids[2], ids[1])]
    data = cli("workflows", "list", "--json", "--before", str(ids[1])).data
    assert ([one["id"] for one in data["workflows"]], data["before"]) == ([ids[0]], None)
    assert data["workflows"][0]["jobs"] == {"available": 1, "suspended": 2}


def test_a_workflow_is_shown_with_its_jobs(cli: Command, store: Callable[[], int]) -> None:
    number = str(store())
    done = cli("workflows", "show", number)
    assert (done.code, done.err) == (0, "")
    assert "counts    1 available, 2 suspended" in done.out
    (report,) = [line.split() for line in done.out.splitlines() if "report" in line]
    assert report[1:] == ["report", "suspended", noop.name, "extract,", "load"]
    data = cli("workflows", "show", number, "--json").data
    assert [step["name"] for step in data["steps"]] == ["extract", "load", "report"]
    assert (len(data["edges"]), data["cut"]) == (3, False)


def test_its_graph_is_printed_for_mermaid(cli: Command, store: Callable[[], int]) -> None:
    number = str(store())
    done = cli("workflows", "show", number, "--mermaid")
    assert done.out.startswith("flowchart TD\n")
    assert 'n1["load<br/>suspended"]' in done.out
    assert cli("workflows", "show", number, "--mermaid", "--json").data == {"mermaid": done.out.removesuffix("\n")}


def test_a_workflow_is_cancelled_and_retried(
    cli: Command, store: Callable[[], int], states: Callable[[], list[str]]
) -> None:
    number = str(store())
    assert cli("workflows", "cancel", number).out == "3 jobs cancelled\n"
    assert states() == ["cancelled"] * 3
    again = cli("workflows", "cancel", number)
    assert (again.code, again.err) == (1, f"Error: workflow {number} has no job that could be cancelled\n")
    assert cli("workflows", "retry", number, "--json").data == {"retried": 3}
    assert states() == ["available", "suspended", "suspended"]


@pytest.mark.parametrize("arguments", [("show", "7"), ("show", "7", "--mermaid"), ("cancel", "7"), ("retry", "7")])
def test_a_workflow_that_is_not_there_is_an_error(arguments: tuple[str, ...], cli: Command) -> None:
    done = cli("workflows", *arguments)
    assert (done.code, done.out, done.err) == (1, "", "Error: there is no workflow 7\n")


@pytest.mark.parametrize("verb", ["show", "cancel"])
def test_an_id_that_is_none_is_one_sentence(verb: str, cli: Command) -> None:
    done = cli("workflows", verb, str(10**30))
    assert done.code == 1
    assert done.err.count("\n") == 1


def test_what_is_stored_can_be_beyond_pythons_calendar(
    cli: Command, store: Callable[[], int], connection: Connection
) -> None:
    store()
    connection.exec_driver_sql("UPDATE oban_workflows SET inserted_at = '20000-01-01', name = E'\\x1b[31mred'")
    done = cli("workflows", "list")
    assert "beyond the calendar" in done.out
    assert "\x1b" not in done.out
