"""What limits a queue over all nodes, beside the number of its jobs on each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqla_oban.settings import QueueConfig


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a queue, as the database takes them.

    Args:
        most: how many of its jobs run on all nodes together; None for any number.
        rate: how many start within which time, as JSON; None for any number.
        spec: what divides its jobs into partitions; None where nothing does.
        burst: whether a partition may go past `most` where there is room.
    """

    most: int | None = None
    rate: str | None = None
    spec: tuple[str, ...] | None = None
    burst: bool = False

    def __bool__(self) -> bool:
        return self.most is not None or self.rate is not None

    @classmethod
    def of(cls, config: QueueConfig, said_most: int | None = None, said_rate: object = None) -> "Limits":
        """Those of a setting, with what operators said over it: 0 and `false` lift a limit, None says nothing."""
        most = config.global_limit if said_most is None else said_most
        configured = None if config.rate_limit is None else config.rate_limit.stored()
        rate = configured if said_rate is None else said_rate
        return cls(
            most=most if most is not None and most > 0 else None,
            rate=json.dumps(rate) if isinstance(rate, Mapping) else None,
            spec=None if config.spec is None else tuple(config.spec),
            burst=config.burst,
        )

    def told(self) -> str | None:
        """What a beat tells of them, as JSON; None if there are none."""
        if not self:
            return None
        rate = None if self.rate is None else json.loads(self.rate)
        return json.dumps({"global_limit": self.most, "rate_limit": rate, "partition": self.spec, "burst": self.burst})

    def parameters(self) -> dict[str, Any]:
        """The parameters of the claim that say them."""
        return {
            "spec": None if self.spec is None else list(self.spec),
            "burst": self.burst,
            "most": self.most,
            "rate": self.rate,
        }


UNLIMITED = Limits()
