"""What producers tell of the limits of their queues over all nodes."""

import json
from typing import Any, Final

from sqla_oban.errors import ConfigurationError
from sqla_oban.settings import QueueConfig, RateLimit

TOLD: Final = ("global_limit", "rate_limit", "partition", "burst")


def limits_told(text: str | None) -> dict[str, Any]:
    """The fields of `QueueInfo` that `text`, JSON, tells; anybody may write it: what is no limit is not shown as one.

    >>> limits_told('{"global_limit": 5, "partition": ["args", "tenant"]}')
    {'global_limit': 5, 'partition': ('args', 'tenant')}
    >>> limits_told('{"global_limit": "lots"}')
    {}
    """
    try:
        told = json.loads(text or "{}").items()
        fields: dict[str, Any] = {name: value for name, value in told if name in TOLD and value is not None}
        if "rate_limit" in fields:
            fields["rate_limit"] = RateLimit(**fields["rate_limit"])
        if isinstance(parts := fields.get("partition"), list):
            fields["partition"] = parts[0] if len(parts) == 1 else tuple(parts)
        QueueConfig(**fields)
    except (AttributeError, ConfigurationError, TypeError, ValueError):
        return {}
    return fields
