"""What is answered to who asks by HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and what kind it is of."""

    status: int
    kind: str
    body: bytes


Endpoints: TypeAlias = Mapping[str, Callable[[], Answer]]
"""What answers, by its path; may be called on any thread."""

NOWHERE = Answer(404, "text/plain; charset=utf-8", b"not found\n")
NOT_ALLOWED = Answer(405, "text/plain; charset=utf-8", b"only GET and HEAD\n")
FAILED = Answer(500, "text/plain; charset=utf-8", b"it failed; see the log\n")
