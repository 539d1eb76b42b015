"""The demonstration as a plain log: one line an event, nothing but ASCII of ours, for files and pipes."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import click

from sqla_oban.cli.demo.screen import Lesson, Outcome


class Log:
    """A `Screen` for an output that is no terminal."""

    def __init__(self) -> None:
        self._begun = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def tell(self, event: str) -> None:
        """Something happened."""
        click.echo(f"  {event}")

    def begin(self, lesson: Lesson) -> None:
        """A step begins."""
        self._begun += 1
        click.echo(f"step {self._begun}: {lesson.title}")

    def end(self, outcome: Outcome) -> None:
        """The step has ended."""
        click.echo(f"  {_verdict(outcome)}: {outcome.lesson.moral}")

    def summarise(self, outcomes: Sequence[Outcome]) -> None:
        """All steps have ended."""
        for number, outcome in enumerate(outcomes, start=1):
            facts = f"{outcome.lesson.title} | expected: {outcome.lesson.expected} | seen: {outcome.seen}"
            click.echo(f"summary {number}: {_verdict(outcome)} | {facts}")


def _verdict(outcome: Outcome) -> str:
    return "ok" if outcome.shown else "NOT SHOWN"
