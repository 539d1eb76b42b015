"""What was wrong, in one line, of errors as Python writes them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Text, bindparam, cast, select

from sqla_oban.engine.executor import describe
from sqla_oban.queries.headline import SECOND, headline, headline_of
from tests.queries.table import Table


def plain() -> None:
    raise ValueError("no such order\nnumber 7\n  nor 8")


def long() -> None:
    raise ValueError("x" * 300)


def noted() -> None:
    error = KeyError("order")
    error.add_note("a note")
    raise error


def silent() -> None:
    raise RuntimeError


def odd() -> None:
    raise ValueError(" | Traceback\n\n")


def syntax() -> None:
    compile("x = (", "shop.py", "exec")


def during() -> None:
    try:
        plain()
    except ValueError as error:
        raise ConnectionError("the bank does not answer") from error


def many() -> None:
    try:
        plain()
    except ValueError as error:
        raise ExceptionGroup("both", [error, TypeError("b\nc")]) from error


def after_many() -> None:
    try:
        many()
    except ExceptionGroup:
        silent()


async def in_tasks() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(during))


def told(work: Callable[[], Any]) -> str:
    try:
        work()
    except Exception as error:
        return describe(error)
    raise AssertionError


SEEN = {
    plain: "ValueError: no such order",
    noted: "KeyError: 'order'",
    silent: "RuntimeError",
    odd: "ValueError:  | Traceback",
    syntax: "SyntaxError: '(' was never closed",
    during: "ConnectionError: the bank does not answer",
    many: "ExceptionGroup: both (2 sub-exceptions)",
    after_many: "RuntimeError",
    lambda: asyncio.run(in_tasks()): "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)",
}
WRITTEN = [
    *((told(work), line) for work, line in SEEN.items()),
    (told(plain) + SECOND + told(noted), "ValueError: no such order"),
    (describe(ValueError("never raised\nat all")), "ValueError: never raised"),
    ("cancelled: on request, while it was running\n" + told(plain), "cancelled: on request, while it was running"),
    ("** (RuntimeError) no\n    shop.ex:7", "** (RuntimeError) no"),
    ("Traceback (most recent call last):\n  and no more", "Traceback (most recent call last):"),
    (told(long), ("ValueError: " + "x" * 300)[:200]),
    ("y" * 300, "y" * 200),
    ("", ""),
]


@pytest.mark.parametrize(("text", "line"), WRITTEN, ids=range(len(WRITTEN)))
async def test_python_and_postgresql_find_the_line_of_the_exception(text: str, line: str, table: Table) -> None:
    assert headline(text) == line
    found = select(headline_of(cast(bindparam("text"), Text)))
    assert (await table.run(found, text=text))[0][0] == line
