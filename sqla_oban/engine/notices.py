"""What comes in by NOTIFY. Anybody who can connect can send anything, so nothing here trusts it."""

import base64
import binascii
import json
import zlib
from typing import Any

MAX_PAYLOAD = 1_000_000
"""Bytes of a decompressed payload; PostgreSQL's own limit is 8,000 before decompression."""


def decode(payload: str) -> dict[str, Any] | None:
    """The JSON object in a notification, or None if it is none of Oban's.

    Oban's libraries send plain JSON, or the same gzipped in base64, with or without the prefix `Z:`.

    >>> decode('{"queue": "mailers"}')
    {'queue': 'mailers'}
    >>> decode("hello") is None
    True
    """
    try:
        text = payload if payload.startswith("{") else _unpacked(payload)
        notice = json.loads(text)
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        return None
    return notice if isinstance(notice, dict) else None


def encode(notice: dict[str, Any]) -> str:
    """A notice as every Oban library reads it."""
    return json.dumps(notice)


def _unpacked(payload: str) -> bytes:
    packed = base64.b64decode(payload.removeprefix("Z:"), validate=True)
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(packed, MAX_PAYLOAD)
