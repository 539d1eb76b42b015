"""From where on something is worth telling."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on the doctor speaks.

    Args:
        horizon: seconds for which something may keep dead rows from being removed.
        dead_rows: of a table, below which their share does not matter.
        dead_share: dead rows for each living one.
        bytes: of a table or an index, below which its bloat does not matter.
        bloat: how many times larger than what is in it something may be.
        notify_queue: the share of the notification queue that may be full.
        clock: seconds between a node's clock and PostgreSQL's.
        leaderless: seconds for which nobody may lead, and for which what a leader or a stager does may be left undone.
        dead_node: seconds since the last beat of a node that did not say goodbye.
    """

    horizon: float = 300.0
    dead_rows: int = 10_000
    dead_share: float = 0.5
    bytes: int = 50_000_000
    bloat: float = 4.0
    notify_queue: float = 0.1
    clock: float = 2.0
    leaderless: float = 60.0
    dead_node: float = 300.0
