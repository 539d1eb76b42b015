"""The pages on operating name all that can be typed, found and measured."""

from pathlib import Path

import pytest

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.observe.instruments import INSTRUMENTS, Instrument
from sqla_oban.telemetry import events
from tests.docs.manual import manual

OPERATE = Path(__file__).parents[2] / "docs" / "operate"


def test_the_page_on_the_command_line_ends_with_what_the_commands_say() -> None:
    """Made by `python -m tests.docs.manual`."""
    assert (OPERATE / "command-line.md").read_text().endswith(f"\n\n{manual()}\n")


@pytest.mark.parametrize("ailment", Ailment)
def test_the_page_on_the_doctor_explains_each_ailment(ailment: Ailment) -> None:
    assert f"\n| `{ailment}` |" in (OPERATE / "doctor.md").read_text()


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda instrument: instrument.name)
def test_the_page_on_observing_names_each_instrument(instrument: Instrument) -> None:
    labels = ", ".join(f"`{label}`" for label in instrument.labels)
    row = f"| `{instrument.name}` | `{instrument.otel}` | {instrument.kind} | {labels} | {instrument.help} |"
    assert row in (OPERATE / "observe.md").read_text()


@pytest.mark.parametrize("event", [name for name in events.__all__ if name not in ("Event", "Enqueued", "QueueDepth")])
def test_the_page_on_observing_names_each_event(event: str) -> None:
    assert f"`{event}`" in (OPERATE / "observe.md").read_text()
