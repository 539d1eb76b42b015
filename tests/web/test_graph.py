"""How a graph is laid out."""

from sqla_oban import JobState
from sqla_oban.control.watch.workflows import Step
from sqla_oban.web.graph import ACROSS, LONGEST, WIDTH, drawn

COLUMN = WIDTH + ACROSS


def steps(*ids: int) -> list[Step]:
    return [Step(one, f"job {one}", JobState.AVAILABLE, "w") for one in ids]


def columns(ids: list[int], edges: list[tuple[int, int]]) -> dict[int, int]:
    return {box.step.id: box.x // COLUMN for box in drawn(steps(*ids), edges).boxes}


def test_a_job_stands_behind_the_longest_way_to_it() -> None:
    assert columns([1, 2, 3, 4], [(1, 2), (2, 3), (1, 3), (3, 4), (1, 4)]) == {1: 0, 2: 1, 3: 2, 4: 3}
    assert columns([5, 4, 3], [(3, 4), (4, 5)]) == {3: 0, 4: 1, 5: 2}  # whatever the order of the ids


def test_no_two_boxes_cover_each_other() -> None:
    boxes = drawn(steps(1, 2, 3, 4), [(1, 2), (1, 3)]).boxes
    assert len({(box.x, box.y) for box in boxes}) == 4


def test_a_circle_that_somebody_has_written_is_drawn_all_the_same() -> None:
    found = drawn(steps(1, 2, 3), [(1, 2), (2, 3), (3, 2)])
    assert len(found.boxes) == 3
    assert found.lines.count("M") == 3


def test_nothing_and_long_names_are_drawn() -> None:
    assert drawn([], []).boxes == []
    (box,) = drawn([Step(1, "x" * 255, JobState.AVAILABLE, "w")], []).boxes
    assert len(box.label) == LONGEST
