import pytest

from sqla_oban.cli.configuration import parse_queues
from sqla_oban.errors import ConfigurationError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("mailers:10", {"mailers": 10}),
        (" mailers : 10 , media ", {"mailers": 10, "media": None}),
        ("shop:mailers:10", {"shop:mailers": 10}),
    ],
)
def test_queues_are_names_with_numbers(written: str, meant: dict[str, int | None]) -> None:
    assert parse_queues(written) == meant


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("", "'' names no queue; queues are written as name:number"),
        ("a:1,", "'' names no queue"),
        (":1", "':1' names no queue"),
        ("a:b", "the queue 'a' has no number of jobs but 'b'; queues are written as name:number"),
        ("a:", "the queue 'a' has no number of jobs but ''"),
        ("a:-1", "no number of jobs but '-1'"),
        ("a:1.5", "no number of jobs but '1.5'"),
        ("a:²", "no number of jobs"),
        ("a:0", "the number of jobs of the queue 'a' must be at least 1, got 0"),
        (f"a:{'9' * 5000}", "must be at most"),
        ("a:1,a:2", "the queue 'a' is named twice"),
        ("a\x00:1", "NUL"),
        (f"{'a' * 128}:1", "may have 127 characters at most"),
    ],
)
def test_what_is_not_written_so_is_refused(wrong: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse_queues(wrong)
    assert complaint in str(refusal.value)
