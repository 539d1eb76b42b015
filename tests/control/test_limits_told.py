import pytest

from sqla_oban import RateLimit
from sqla_oban.control.limits_told import limits_told
from sqla_oban.engine.limits import Limits
from sqla_oban.settings import QueueConfig


@pytest.mark.parametrize("partition", [None, "worker", ("meta", "key")])
def test_what_a_beat_tells_is_what_was_configured(partition: str | tuple[str, str] | None) -> None:
    config = QueueConfig(global_limit=2, rate_limit=RateLimit(3, 1.5, "fixed"), partition=partition)
    told = limits_told(Limits.of(config).told())
    assert QueueConfig(**told) == config


@pytest.mark.parametrize(
    "junk",
    [None, "[]", "7", "null", '{"global_limit": -1}', '{"rate_limit": 5}', '{"rate_limit": {"allowed": 1}}', "{",
     '{"partition": []}', '{"partition": ["worker"]}', '{"limit": 1}'],
)  # fmt: skip
def test_what_is_no_limit_is_not_told_as_one(junk: str | None) -> None:
    assert limits_told(junk) == {}
