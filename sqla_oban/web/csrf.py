"""Changes are taken from our own pages only.

A random token is in a cookie that scripts cannot read and other sites do not send (SameSite), and in every form; a
change needs both, and they must be the same. Another site can neither read the token nor set the cookie. A browser
that says where a request comes from is taken at its word as well, before any token is looked at.
"""

import secrets
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

COOKIE: Final = "sqla_oban_csrf"
FIELD: Final = "csrf"
LENGTH: Final = 43
"""Characters of 32 random bytes."""


def token_of(request: HTTPConnection) -> str:
    """The visitor's token: the one that came, or a new one."""
    given = request.cookies.get(COOKIE, "")
    return given if len(given) == LENGTH and given.isascii() else secrets.token_urlsafe(32)


def keep(request: HTTPConnection, response: Response, token: str) -> None:
    """Give the visitor the token, where they have none."""
    if request.cookies.get(COOKIE) != token:
        set_cookie(request, response, COOKIE, token)


def set_cookie(request: HTTPConnection, response: Response, name: str, value: str, *, age: int | None = None) -> None:
    """A cookie that only this dashboard gets."""
    response.set_cookie(
        name,
        value,
        max_age=age,
        path=request.scope.get("root_path") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def is_ours(request: HTTPConnection, given: str) -> bool:
    """Whether a change was asked for by one of our pages, which this visitor was shown."""
    cookie = request.cookies.get(COOKIE, "")
    return (
        len(cookie) == LENGTH and secrets.compare_digest(cookie.encode(), given.encode()) and _is_same_origin(request)
    )


def _is_same_origin(request: HTTPConnection) -> bool:
    """As the browser says; by the host where it says nothing, as over plain HTTP."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
