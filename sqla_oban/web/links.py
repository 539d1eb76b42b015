"""Addresses within the dashboard, wherever it is mounted."""

from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import HTTPConnection

MOST: Final = 4_000


def base(request: HTTPConnection) -> str:
    """What stands before each path: where the host has mounted us, behind whatever proxy."""
    return str(request.scope.get("root_path") or "").rstrip("/")


def at(request: HTTPConnection, path: str, **query: Any) -> str:
    """The address of a path of ours; what is None or empty is left out of the query."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{base(request)}{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")


def returning(request: HTTPConnection, target: str, default: str) -> str:
    """Where to go after a change: `target`, if it is a path of ours, for anybody may have written it."""
    inside = target.startswith(f"{base(request)}/") and not target.startswith("//") and len(target) < MOST
    plain = target.isascii() and target.isprintable() and "\\" not in target
    return target if inside and plain else at(request, default)
