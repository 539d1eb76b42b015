"""What goes through the pipes between the demonstration and its node processes: one JSON object a line."""

import json
from dataclasses import asdict, dataclass

from sqla_oban.telemetry import events
from sqla_oban.telemetry.events import Event


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a node process is told, as the first line of its standard input; the end of that input is its end.

    Not on its command line, which everybody on the machine may read: the address may hold a password.

    Args:
        node: the name that it runs under.
        url: the database.
        schema: the schema of the tables.
    """

    node: str
    url: str
    schema: str

    def encode(self) -> bytes:
        """As a line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: str) -> "Assignment":
        """From a line."""
        return cls(**json.loads(line))


def encode(event: Event) -> str:
    """A telemetry event as a line, for the standard output of a node process.

    >>> decode(encode(events.LeadershipGained(node="node-1")))
    LeadershipGained(node='node-1')
    """
    return json.dumps({"event": type(event).__name__, "fields": asdict(event)}) + "\n"


def decode(line: str | bytes) -> Event:
    """The event that was encoded as `line`."""
    said = json.loads(line)
    kind: type[Event] = getattr(events, said["event"])
    return kind(**said["fields"])
