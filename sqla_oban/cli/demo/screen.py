"""What shows the demonstration to whoever watches: a terminal, or a log."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one step teaches.

    Args:
        title: what is promised.
        moral: why it can be relied on, in a sentence or two.
        code: the few lines that do it.
        expected: what the database should say afterwards.
    """

    title: str
    moral: str
    code: str
    expected: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step went.

    Args:
        lesson: what was to be shown.
        seen: what the database said when the step ended.
    """

    lesson: Lesson
    seen: str

    @property
    def shown(self) -> bool:
        """Whether the database said what was expected."""
        return self.seen == self.lesson.expected


class Screen(Protocol):
    """Shows the steps as they happen; a context manager, so that a terminal is left as it was found."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def tell(self, event: str) -> None:
        """Something happened."""

    def begin(self, lesson: Lesson) -> None:
        """A step begins; what is told from now on belongs to it."""

    def end(self, outcome: Outcome) -> None:
        """The step has ended."""

    def summarise(self, outcomes: Sequence[Outcome]) -> None:
        """All steps have ended."""
