"""What figures are of."""

from enum import Enum


class Unit(Enum):
    """How a figure is written, and which way is better."""

    JOBS_A_SECOND = ("jobs/s", 0, True)
    COMMITS_A_SECOND = ("commits/s", 0, True)
    MILLISECONDS = ("ms", 1, False)
    MEGABYTES = ("MB", 0, False)
    QUERIES_A_SECOND = ("queries/s", 2, False)
    BYTES_A_JOB = ("bytes/job", 0, False)
    COMMITS_A_JOB = ("commits/job", 3, False)
    DEAD_TUPLES = ("dead rows", 0, False)

    def __init__(self, suffix: str, digits: int, more_is_better: bool) -> None:  # noqa: FBT001 (a row of the table)
        self.suffix = suffix
        self.digits = digits
        self.more_is_better = more_is_better

    @property
    def heading(self) -> str:
        """The unit with an arrow: up where more is better."""
        return f"{self.suffix} {'↑' if self.more_is_better else '↓'}"

    def write(self, value: float) -> str:
        """The figure without its unit."""
        return f"{value:,.{self.digits}f}"
