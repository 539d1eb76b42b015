"""The demonstration in a terminal: steps that turn into ticks, with what they teach."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from sqla_oban.cli.demo.screen import Lesson, Outcome

INDENT = (0, 0, 0, 2)


class Terminal:
    """A `Screen` for people.

    Steps that have ended scroll by as text; below them the running one is drawn anew until it ends.

    Args:
        coming: the steps that are to be shown, listed until it is their turn.
    """

    def __init__(self, coming: Sequence[Lesson]) -> None:
        self._console = Console(markup=False, highlight=False)
        self._coming = list(coming)
        self._running: Lesson | None = None
        self._told: list[str] = []
        self._live = Live(console=self._console, get_renderable=self._draw, transient=True, refresh_per_second=10)
        self._spinner = Spinner("dots")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, event: str) -> None:
        """Something happened: a line of the running step, or of none."""
        if self._running is None:
            self._console.print(Text(event, style="dim"))
        else:
            self._told.append(event)

    def begin(self, lesson: Lesson) -> None:
        """A step begins."""
        self._coming.remove(lesson)
        self._running, self._told = lesson, []

    def end(self, outcome: Outcome) -> None:
        """The step has ended."""
        self._running = None
        self._console.print(self._report(outcome))

    def summarise(self, outcomes: Sequence[Outcome]) -> None:
        """All steps have ended."""
        table = Table(title="What the database said", title_justify="left", show_lines=True)
        for column in ("", "Step", "Expected", "Seen"):
            table.add_column(column)
        for outcome in outcomes:
            table.add_row(self._mark(outcome), outcome.lesson.title, outcome.lesson.expected, outcome.seen)
        self._console.print(table)

    def _draw(self) -> RenderableType:
        coming = Text("\n".join(f"  {lesson.title}" for lesson in self._coming), style="dim")
        if self._running is None:
            return coming
        self._spinner.update(text=Text(self._running.title, style="bold"))
        return Group(self._spinner, *self._events(), coming)

    def _report(self, outcome: Outcome) -> RenderableType:
        lesson = outcome.lesson
        code = Syntax(lesson.code, "python", background_color="default", word_wrap=True)
        return Group(
            Text.assemble(self._mark(outcome), " ", (lesson.title, "bold")),
            Padding(Text(lesson.moral), INDENT),
            Padding(code, (0, 0, 0, 6)),
            *self._events(),
            Text(),
        )

    def _events(self) -> list[RenderableType]:
        return [Padding(Text(event, style="dim"), INDENT) for event in self._told]

    def _mark(self, outcome: Outcome) -> Text:
        """A tick or a cross, in letters where the terminal has no such characters."""
        drawn = not self._console.options.ascii_only
        if outcome.shown:
            return Text("✓" if drawn else "ok", style="bold green")
        return Text("✗" if drawn else "NO", style="bold red")
