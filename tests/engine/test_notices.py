import base64
import gzip
import json
from typing import Any

import pytest

from sqla_oban.engine.notices import MAX_PAYLOAD, decode, encode

NOTICE = {"queue": "mailers", "more": [1, None, "Ü"]}


def packed(content: str | bytes) -> str:
    return base64.b64encode(gzip.compress(content if isinstance(content, bytes) else content.encode())).decode()


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(json.dumps(NOTICE), id="plain"),
        pytest.param(json.dumps(NOTICE, ensure_ascii=False), id="plain-unicode"),
        pytest.param(packed(json.dumps(NOTICE)), id="gzip"),
        pytest.param("Z:" + packed(json.dumps(NOTICE)), id="gzip-with-prefix"),
        pytest.param(encode(NOTICE), id="our-own"),
    ],
)
def test_a_notice_is_read_in_every_form_that_oban_sends(payload: str) -> None:
    assert decode(payload) == NOTICE


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("", id="empty"),
        pytest.param("hello", id="not-json"),
        pytest.param("{", id="broken-json"),
        pytest.param('{"a": 1} x', id="more-than-json"),
        pytest.param("[1]", id="array"),
        pytest.param("null", id="null"),
        pytest.param(packed("[1]"), id="packed-array"),
        pytest.param(packed("5"), id="packed-number"),
        pytest.param(packed(""), id="packed-nothing"),
        pytest.param(packed(b"\xff\xfe\xfd"), id="not-utf-8"),
        pytest.param(packed(b'{"a": "\xff"}'), id="not-utf-8-inside"),
        pytest.param(packed(json.dumps(NOTICE))[:-24], id="truncated-gzip"),
        pytest.param(packed(json.dumps(NOTICE))[:-1], id="truncated-base64"),
        pytest.param(base64.b64encode(b"no gzip at all").decode(), id="no-gzip"),
        pytest.param("Z:", id="only-the-prefix"),
        pytest.param("Z:{}", id="prefix-before-json"),
        pytest.param("Ünïcödé", id="not-ascii"),
        pytest.param("\ud800", id="lone-surrogate"),
        pytest.param('{"a": ' + "[" * 100_000, id="deep"),
        pytest.param(packed('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"), id="deep-packed"),
        pytest.param('{"a": ' + "1" * 5_000 + "}", id="long-integer"),
        pytest.param(packed('{"a": "' + "x" * 50 * MAX_PAYLOAD + '"}'), id="bomb"),
    ],
)
def test_what_is_not_obans_is_none(payload: str) -> None:
    assert decode(payload) is None


def test_a_bomb_is_not_unpacked_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def loads(text: bytes) -> Any:
        read.append(text)
        raise ValueError

    monkeypatch.setattr("sqla_oban.engine.notices.json.loads", loads)
    decode(packed("x" * 5 * MAX_PAYLOAD))
    assert [len(text) for text in read] == [MAX_PAYLOAD]


def test_a_notice_fits_into_a_payload_as_plain_json() -> None:
    assert json.loads(encode({"queue": "Ü" * 127})) == {"queue": "Ü" * 127}
    assert len(encode({"queue": "\U0001f600" * 127}).encode()) < 8_000
