"""What the next page says of the change that was just made."""

import base64
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from sqla_oban.web.csrf import set_cookie

COOKIE: Final = "sqla_oban_said"
MOST: Final = 600
SECONDS: Final = 60


def leave(request: HTTPConnection, response: Response, text: str, *, good: bool) -> None:
    """Say it on the next page."""
    encoded = base64.urlsafe_b64encode(f"{'+' if good else '-'}{text[:MOST]}".encode()).decode()
    set_cookie(request, response, COOKIE, encoded, age=SECONDS)


def found(request: HTTPConnection) -> tuple[str, bool] | None:
    """What is to be said, and whether it is good news."""
    try:
        told = base64.urlsafe_b64decode(request.cookies.get(COOKIE, "")).decode()
    except ValueError:
        return None
    return (told[1:], told[0] == "+") if told else None


def drop(request: HTTPConnection, response: Response) -> None:
    """It was said."""
    if COOKIE in request.cookies:
        response.delete_cookie(COOKIE, path=request.scope.get("root_path") or "/")
