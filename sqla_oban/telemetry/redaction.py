"""What of a job's arguments a log may show."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Redaction: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""Makes what is shown of what is stored."""

REDACTED = "[redacted]"


def hidden(args: Mapping[str, Any]) -> dict[str, str]:
    """The names of the arguments, and none of their values: anything may be a secret.

    >>> hidden({"user_id": 7, "token": "abc"})
    {'user_id': '[redacted]', 'token': '[redacted]'}
    """
    return dict.fromkeys(args, REDACTED)


def shown(args: Mapping[str, Any]) -> dict[str, Any]:
    """All of them as they are."""
    return dict(args)


def only(*names: str) -> Redaction:
    """The values of the arguments `names`; of the others the names.

    >>> only("user_id")({"user_id": 7, "token": "abc"})
    {'user_id': 7, 'token': '[redacted]'}
    """

    def redact(args: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value if name in names else REDACTED for name, value in args.items()}

    return redact
