import json
import math
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Job, JobState
from sqla_oban.errors import UnserialisableValue
from sqla_oban.payload import MAX_DEPTH, snapshot, storable_text
from tests.support import both_drivers

Point = namedtuple("Point", "x y")  # noqa: PYI024 (what is tested is that untyped ones go in as well)

FLOATS = [1e-7, 5e-324, 1e15, 1e16, 1e22, 1e23, -1e25, 1e300, 1.7976931348623157e308]
ACCEPTED = [
    None,
    True,
    False,
    0,
    -1,
    2**53 + 1,
    2**63,
    10**4_300 - 1,
    -(10**4_300) + 1,
    0.1,
    -0.0,
    5e-324,
    1.5,
    123456789.123456789,
    "",
    "text",
    "Ünïcödé \U0001f600 \u2028",
    "\\u0000 as six characters",
    "quotes ' \" and % and :colon",
    [],
    {},
    [1, [2, [3, {}]]],
    {"": 1, "a b": {"c": [None, True]}},
]


def nested(levels: int, make: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = make(value)
    return value


def cyclic_list() -> object:
    value: list[object] = []
    value.append(value)
    return value


def cyclic_dict() -> object:
    value: dict[str, object] = {}
    value["me"] = [value]
    return value


@pytest.mark.parametrize("value", ACCEPTED, ids=lambda value: repr(value)[:30])
def test_json_values_come_back_equal(value: object) -> None:
    back = snapshot(value, "it")
    assert back == value
    assert type(back) is type(value)


@both_drivers
async def test_json_values_come_back_equal_from_postgresql(engine: AsyncEngine) -> None:
    values = {str(number): value for number, value in enumerate(ACCEPTED)}
    async with AsyncSession(engine) as session, session.begin():
        session.add(Job(worker="w", args=values, meta={"nested": [values]}))
    async with AsyncSession(engine) as session:
        job = await session.get_one(Job, 1)
        assert job.args == values
        assert job.meta == {"nested": [values]}


@both_drivers
async def test_floats_are_before_the_insert_what_postgresql_gives_back(engine: AsyncEngine) -> None:
    made = Job(worker="w", args={"floats": FLOATS})
    before = repr(made.args)
    async with AsyncSession(engine) as session, session.begin():
        session.add(made)
    async with AsyncSession(engine) as session:
        back = (await session.get_one(Job, 1)).args
    assert back == {"floats": FLOATS}
    assert repr(back) == before


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"k": inner}], ids=["lists", "dicts"])
async def test_the_deepest_nesting_that_is_accepted_comes_back_from_postgresql(
    make: Callable[[Any], Any], engine: AsyncEngine
) -> None:
    args = {"a": nested(MAX_DEPTH - 1, make)}
    async with AsyncSession(engine) as session, session.begin():
        session.add(Job(worker="w", args=args))
    async with AsyncSession(engine) as session:
        assert (await session.get_one(Job, 1)).args == args


@pytest.mark.parametrize(
    ("value", "back"),
    [
        pytest.param((1, (2,)), [1, [2]], id="tuple"),
        pytest.param(Point(1, 2), [1, 2], id="namedtuple"),
        pytest.param(JobState.AVAILABLE, "available", id="str-enum"),
        pytest.param(OrderedDict(b=1, a=2), {"b": 1, "a": 2}, id="dict-subclass"),
    ],
)
def test_relatives_of_json_values_become_plain(value: object, back: object) -> None:
    plain = snapshot(value, "it")
    assert plain == back
    assert type(plain) is type(back)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(math.nan, "args['a'] is nan", id="nan"),
        pytest.param(math.inf, "args['a'] is inf", id="infinity"),
        pytest.param([1.0, -math.inf], "args['a'][1] is -inf", id="negative-infinity"),
        pytest.param("a\x00b", "args['a'] contains a NUL character", id="nul"),
        pytest.param({"b": ["\ud800"]}, "args['a']['b'][0] contains a lone surrogate", id="high-surrogate"),
        pytest.param("ü\udfff", "args['a'] contains a lone surrogate", id="low-surrogate"),
        pytest.param({"\x00": 1}, "the key '\\x00' of args['a'] contains a NUL character", id="nul-in-a-key"),
        pytest.param({"\ud800": 1}, "of args['a'] contains a lone surrogate", id="surrogate-in-a-key"),
        pytest.param({1: 2}, "args['a'] has the key 1; JSON objects have str keys only", id="int-key"),
        pytest.param({None: 2}, "args['a'] has the key None", id="none-key"),
        pytest.param({"b": {(): 2}}, "args['a']['b'] has the key ()", id="tuple-key"),
        pytest.param({10**5_000: 2}, "args['a'] has the key a int that cannot be shown", id="unprintable-key"),
        pytest.param({1, 2}, "args['a'] is a set", id="set"),
        pytest.param(frozenset(), "args['a'] is a frozenset", id="frozenset"),
        pytest.param(b"x", "args['a'] is a bytes", id="bytes"),
        pytest.param(bytearray(b"x"), "args['a'] is a bytearray", id="bytearray"),
        pytest.param(datetime.now(UTC), "args['a'] is a datetime", id="datetime"),
        pytest.param(Decimal(1), "args['a'] is a Decimal", id="decimal"),
        pytest.param(UUID(int=0), "args['a'] is a UUID", id="uuid"),
        pytest.param(1j, "args['a'] is a complex", id="complex"),
        pytest.param(object(), "args['a'] is a object", id="object"),
        pytest.param([[], (0, range(3))], "args['a'][1][1] is a range", id="deep-inside"),
        pytest.param(len, "args['a'] is a builtin_function_or_method", id="function"),
        pytest.param(10**4_300, "args['a'] is an integer of more than 4,300 digits", id="integer-of-4301-digits"),
        pytest.param(10**5_000, "args['a'] is an integer of more than 4,300 digits", id="long-integer"),
        pytest.param(-(10**5_000), "args['a'] is an integer of more than 4,300 digits", id="long-negative-integer"),
        pytest.param(nested(MAX_DEPTH, lambda inner: [inner]), f"deeper than {MAX_DEPTH} levels", id="deep-list"),
        pytest.param(nested(5_000, lambda inner: {"k": inner}), f"deeper than {MAX_DEPTH} levels", id="deep-dict"),
        pytest.param(cyclic_list(), "or contains itself", id="cyclic-list"),
        pytest.param(cyclic_dict(), "or contains itself", id="cyclic-dict"),
    ],
)
def test_what_json_or_postgresql_cannot_hold_is_refused_with_its_path(value: object, message: str) -> None:
    with pytest.raises(UnserialisableValue) as refused:
        snapshot({"a": value}, "args")
    assert message in str(refused.value)
    assert str(refused.value).encode(errors="backslashreplace").isascii()


def test_the_message_about_a_cycle_stays_short() -> None:
    with pytest.raises(UnserialisableValue) as refused:
        snapshot({"a": cyclic_dict()}, "args")
    assert len(str(refused.value)) < 200


def test_later_changes_to_the_value_do_not_leak_in() -> None:
    inner = [1]
    value = {"inner": inner}
    taken = snapshot(value, "args")
    inner.append(2)
    value["other"] = []
    assert taken == {"inner": [1]}


def test_a_snapshot_of_a_snapshot_is_the_same() -> None:
    once = snapshot({"a": (1, {"b": 2.5})}, "args")
    assert snapshot(once, "args") == once


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("Ü \U0001f600", "Ü \U0001f600"),
        ("a\x00b\x00", "a\ufffdb\ufffd"),
        ("a\ud800b", "a?b"),
        ("\udfff\x00", "?\ufffd"),
        ("", ""),
    ],
    ids=ascii,
)
def test_text_is_made_storable_and_otherwise_left_alone(text: str, stored: str) -> None:
    assert storable_text(text) == stored


async def test_storable_text_can_be_stored(engine: AsyncEngine) -> None:
    text = storable_text("".join(map(chr, range(0x300))) + "\ud800\udc00\uffff\U0010ffff")
    async with AsyncSession(engine) as session, session.begin():
        session.add(Job(worker="w", args={"text": text}))
    async with AsyncSession(engine) as session:
        assert (await session.get_one(Job, 1)).args == json.loads(json.dumps({"text": text}))
