"""What a form has sent."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

MOST_BYTES: Final = 2_000_000
MOST_FIELDS: Final = 2_000
URLENCODED: Final = "application/x-www-form-urlencoded"


class Form:
    """Fields by name, each any number of times."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        self._fields = fields

    def one(self, name: str, default: str = "") -> str:
        """The first value of a field."""
        return self._fields.get(name, [default])[0]

    def all(self, name: str) -> Sequence[str]:
        """All values of a field."""
        return self._fields.get(name, [])

    def __contains__(self, name: str) -> bool:
        return name in self._fields


async def read_form(request: Request) -> Form:
    """The form in a request.

    Raises:
        HTTPException: it is of another type than our pages send, too long, or no text.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != URLENCODED:
        raise HTTPException(415, "A form is sent as " + URLENCODED)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, "The form is too long")
    try:
        fields = parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, encoding="utf-8", errors="strict"
        )
    except ValueError:
        raise HTTPException(400, "The form cannot be read") from None
    return Form(fields)
