"""What is said of the limits of a queue, as it is written down."""

from typing import Any, cast

from sqla_oban.errors import ConfigurationError
from sqla_oban.settings import RateLimit
from sqla_oban.settings.checks import whole
from sqla_oban.settings.rate_limit import checked_rate


def limit_words(limit: object, global_limit: object, rate_limit: object, *, for_all: bool) -> dict[str, Any]:
    """The fields of a word about limits; what lifts a limit has a value of its own there, as NULL says nothing.

    Raises:
        ConfigurationError: one of them is none, there are none, or one is for all nodes and not all are meant.
    """
    fields: dict[str, Any] = {}
    if limit is not None:
        whole("limit", limit)
        fields["local_limit"] = limit
    if global_limit is not None:
        if global_limit is not False:
            whole("global_limit", global_limit)
        fields["global_limit"] = int(cast(int, global_limit))
    if rate_limit is not None:
        if rate_limit is not False:
            checked_rate("rate_limit", rate_limit)
        fields["rate_limit"] = rate_limit.stored() if isinstance(rate_limit, RateLimit) else False
    if not fields:
        raise ConfigurationError("limit must be given, or global_limit, or rate_limit: scale() got none of them")
    if not for_all and fields.keys() != {"local_limit"}:
        raise ConfigurationError("global_limit and rate_limit hold over all nodes; leave node out")
    return fields
