from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import RateLimit, SqlaOban
from sqla_oban.control.limit_words import limit_words
from sqla_oban.errors import ConfigurationError


def test_only_what_is_given_is_said_and_what_lifts_a_limit_has_a_value_of_its_own() -> None:
    assert limit_words(3, None, None, for_all=False) == {"local_limit": 3}
    assert limit_words(None, 5, RateLimit(2, 1), for_all=True) == {
        "global_limit": 5,
        "rate_limit": {"allowed": 2, "period": 1, "algorithm": "sliding"},
    }
    assert limit_words(None, False, False, for_all=True) == {"global_limit": 0, "rate_limit": False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "limit must be given, or global_limit, or rate_limit"),
        ({"global_limit": 0}, "global_limit must be at least 1, got 0"),
        ({"global_limit": True}, "global_limit must be an integer, got True"),
        ({"rate_limit": (1, 2)}, "rate_limit must be a RateLimit"),
        ({"rate_limit": True}, "rate_limit must be a RateLimit"),
        ({"global_limit": 1, "node": "one"}, "hold over all nodes; leave node out"),
        ({"limit": 1, "rate_limit": False, "node": "one"}, "hold over all nodes; leave node out"),
    ],
)
async def test_what_cannot_be_a_limit_is_refused(options: dict[str, Any], message: str, engine: AsyncEngine) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await SqlaOban(engine).queues.scale("mail", **options)
