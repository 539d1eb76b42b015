"""The benchmark's machinery at the smallest size: that it measures, not what it measures."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from benchmarks import environment
from benchmarks.bench import Bench
from benchmarks.contenders import OUR_OWN, OURS, Entrant
from benchmarks.failure import Unmeasured
from benchmarks.goal import Goal
from benchmarks.peers.sqla_oban import fan_outs
from benchmarks.report import Report, Section
from benchmarks.scale import Scale
from benchmarks.scenario import Lane, Scenario, percentile
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.enqueue import Enqueue
from benchmarks.scenarios.features import INDEXES, WITH, WITHOUT, Features, drop_features
from benchmarks.scenarios.limits import Limits
from benchmarks.scenarios.schedule import Schedule
from benchmarks.scenarios.snapshot import Snapshot
from benchmarks.scenarios.workflow import Workflow
from benchmarks.table import Cell, Table
from benchmarks.units import Unit
from sqla_oban.migrations import features

TINY = Scale(
    rounds=1,
    jobs=50,
    front=20,
    backlogs=(50, 100),
    kept=100,
    long=50,
    workflow=50,
    commits=5,
    bulk=50,
    samples=5,
    window=1,
    soak=1,
    rate=50,
    sleepers=5,
    burners=4,
    nodes=(1, 2),
    budget=120,
)

NOBODY = Entrant("nobody", "no_such_module")


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench([*OUR_OWN, NOBODY]) as bench:
        yield bench


@pytest.mark.parametrize("scenario", [Snapshot, Enqueue, Schedule, Features, Limits, Workflow])
def test_a_scenario_measures_each_contender_in_every_column(bench: Bench, scenario: type[Scenario]) -> None:
    table = bench.run(scenario(TINY))

    measured = {cell for cell in table.values if table.median(cell) is not None}
    asked = [entrant for entrant in OUR_OWN if entrant in scenario.contenders]
    assert measured == {Cell(entrant.name, column) for entrant in asked for column in table.columns}, table.reasons


class Impossible(Scenario):
    name = "impossible"
    title = "What cannot be"
    about = "One of two fails."

    def columns(self) -> Mapping[str, Unit]:
        return {"speed": Unit.JOBS_A_SECOND}

    def measure(self, lane: Lane) -> Mapping[str, float]:
        if lane.entrant == OURS:
            return {"speed": 7.0}
        raise Unmeasured("out of order")


def test_what_fails_has_its_reason_in_the_table(bench: Bench) -> None:
    written = bench.run(Impossible(TINY)).markdown()

    assert "| sqla_oban | 7 |" in written
    assert "1. bare SQL: out of order" in written


TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'oban_jobs'::regclass AND NOT tgisinternal"
THEIR_INDEXES = "SELECT count(*) FROM pg_indexes WHERE tablename = 'oban_jobs' AND indexname = ANY(%s)"


class Dropped(Features):
    """Counts what the features have on the table, in place of draining it."""

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        if lane.variant == WITHOUT:
            drop_features(lane)
        triggers = {name for (name,) in lane.server.sql(TRIGGERS, database=lane.database)}
        assert "oban_jobs_wake" in triggers
        ((indexes,),) = lane.server.sql(THEIR_INDEXES, list(INDEXES), database=lane.database)
        return {lane.variant: len(triggers - {"oban_jobs_wake"}) + indexes}


def test_without_the_features_nothing_of_them_is_left_on_the_table(bench: Bench) -> None:
    table = bench.run(Dropped(TINY))

    assert table.median(Cell(OURS.name, WITHOUT)) == 0
    assert table.median(Cell(OURS.name, WITH)) == len(INDEXES) + len(features.TRIGGERS)


def test_a_workflow_is_a_chain_of_fan_outs() -> None:
    nodes = fan_outs(50, 0).graph.nodes

    assert len(nodes) == 50
    assert [name for name, node in nodes.items() if not node.deps] == ["0", "1", "2", "3"]
    assert list(nodes["4"].deps) == ["0", "1", "2", "3"]
    assert {name for name, node in nodes.items() if list(node.deps) == ["4"]} == {"5", "6", "7", "8"}


class Unstartable(Impossible):
    contenders = (OURS, NOBODY)


def test_a_contender_that_cannot_be_started_has_its_reason_in_the_table(bench: Bench) -> None:
    written = bench.run(Unstartable(TINY)).markdown()

    assert "| sqla_oban | 7 |" in written
    assert "No module named 'benchmarks.peers.no_such_module'" in written


def table() -> Table:
    table = Table("Draining", "As fast as it goes.", {"10": Unit.JOBS_A_SECOND}, "ours", contenders=["ours", "theirs"])
    for ours, theirs in ((100, 30), (300, 10), (120, 20)):
        table.add("ours", {"10": ours})
        table.add("theirs", {"10": theirs})
    return table


def test_medians_and_ratios_are_what_counts() -> None:
    assert "| ours | 120 |" in table().markdown()
    assert "| theirs | 20 (6.00x) |" in table().markdown()


def test_a_goal_is_met_at_its_bound_and_not_beyond() -> None:
    ours, theirs = Cell("ours", "10"), Cell("theirs", "10")

    assert Goal("drain", ours, theirs, at_least=6).row(table()) == "| drain | >= 6 x theirs | 6.00 | met |"
    assert Goal("drain", ours, theirs, at_least=7).row(table()) == "| drain | >= 7 x theirs | 6.00 | **not met** |"
    assert Goal("drain", ours, at_most=119).row(table()) == "| drain | <= 119 | 120.00 | **not met** |"
    assert Goal("drain", ours, Cell("x", "10"), at_most=1).row(table()) == "| drain | <= 1 x x |  | not measured |"


def test_the_report_has_the_goals_the_tables_the_settings_and_the_plot(tmp_path: Path) -> None:
    goal = Goal("drain", Cell("ours", "10"), Cell("theirs", "10"), at_least=6)
    described = {"ours": ("ours 1", "nothing")}
    report = Report("python -m benchmarks", ["a machine"], 3, described, [Section(table(), [goal])])

    report.write(tmp_path / "out.md")

    written = (tmp_path / "out.md").read_text()
    assert goal.row(table()) in written
    assert table().markdown() in written
    assert "- **ours** (ours 1): nothing" in written
    assert "<svg" in (tmp_path / "out.svg").read_text()


def test_without_a_python_that_the_peers_run_on_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "candidates", lambda: iter(()))

    with pytest.raises(Unmeasured, match="there is no Python 3"):
        environment.find_python()


def test_percentiles_need_no_minimum() -> None:
    assert percentile([5], 99) == 5
    assert percentile(range(101), 50) == 50


def test_every_scenario_has_figures_for_each_of_its_variants() -> None:
    for scenario in (kind(TINY) for kind in SCENARIOS.values()):
        covered = [column for variant in scenario.variants for column in scenario.columns_of(variant)]
        assert sorted(covered) == sorted(scenario.columns()), scenario.name
        assert all(goal.of.column in covered for goal in scenario.goals()), scenario.name
