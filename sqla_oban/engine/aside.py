"""Jobs that something of the user's refuses to have changed, and that must not be in the way of others."""

import time

MOST_ASIDE = 1_000
"""Jobs that are put aside; if even more are refused, something is wrong with the table and not with them."""
SHORTEST = 5.0
"""Seconds for which a job is put aside the first time; each further time doubles them."""
LONGEST = 300.0
FORGOTTEN = 3_600.0
"""Seconds after which a job that was put aside counts as never refused."""


class Aside:
    """Ids of jobs, each for a while that grows with every time."""

    def __init__(self) -> None:
        self._until: dict[int, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._until)

    @property
    def ids(self) -> list[int]:
        """Those that are not to be tried now."""
        now = time.monotonic()
        self._until = {id_: one for id_, one in self._until.items() if now - one[0] < FORGOTTEN}
        return [id_ for id_, (until, _) in self._until.items() if until > now]

    def put(self, id_: int) -> float:
        """Put a job aside; returns for how many seconds."""
        _, last = self._until.get(id_, (0.0, SHORTEST / 2))
        pause = min(last * 2, LONGEST)
        self._until[id_] = (time.monotonic() + pause, pause)
        return pause
