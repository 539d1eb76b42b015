import dataclasses

import pytest

from sqla_oban.telemetry import events
from sqla_oban.telemetry.events import Event

ALL_EVENTS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]

every_event = pytest.mark.parametrize("kind", ALL_EVENTS, ids=lambda kind: str(kind.__name__))


def test_there_are_events() -> None:
    assert len(ALL_EVENTS) > 15


@every_event
def test_an_event_is_frozen_and_takes_keywords_only_and_has_no_defaults(kind: type[Event]) -> None:
    fields = dataclasses.fields(kind)
    event = kind(**{field.name: None for field in fields})  # type: ignore[arg-type]
    assert all(field.kw_only for field in fields)
    assert not hasattr(event, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.node = "other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="node"):
        kind()  # type: ignore[call-arg]


@every_event
def test_an_event_says_what_happened_and_where(kind: type[Event]) -> None:
    assert "__doc__" in vars(kind)
    assert "node" in {field.name for field in dataclasses.fields(kind)}
    assert not (kind.__doc__ or "").startswith(f"{kind.__name__}(")


@every_event
def test_events_are_equal_when_their_facts_are(kind: type[Event]) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    facts = dict.fromkeys(names, 1)
    assert kind(**facts) == kind(**facts)  # type: ignore[arg-type]
    assert kind(**facts) != kind(**{**facts, "node": 2})  # type: ignore[arg-type]
