"""Asking a database; that it does not answer is a finding, too."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import asyncpg
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, problem
from sqla_oban.errors import ObanError, reason
from sqla_oban.queries.bounds import hurry

EXPECTED = (ObanError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What the library, the driver or the database refuse."""

CONNECTING = 15.0
"""Seconds that a server has to answer."""


async def unreachable(engine: AsyncEngine) -> str | None:
    """Why the server of `engine` does not let us in; None if it does.

    A connection fails in as many ways as there are drivers and options.
    """
    try:
        async with asyncio.timeout(CONNECTING), engine.connect():
            return None
    except Exception as error:
        why = f"no answer in {CONNECTING:.0f} seconds" if isinstance(error, TimeoutError) else reason(error)
        return f"cannot connect to {hidden(engine.url)}: {why}"


async def asked(engine: AsyncEngine, check: Callable[..., Iterable[Finding]], *arguments: Any) -> list[Finding]:
    """What `check` finds, in five seconds a statement; that it could not be asked is a finding as well."""
    try:
        async with engine.connect() as connection:
            await connection.execute(hurry())
            return await connection.run_sync(lambda sync: list(check(sync, *arguments)))
    except (*EXPECTED, OSError) as error:
        what = f"a question about its {check.__name__} failed: {reason(error)}"
        return [problem("database", what, ailment=Ailment.UNANSWERED)]


def hidden(address: URL) -> str:
    """`address` without any password; drivers take them in the query as well.

    >>> from sqlalchemy import make_url
    >>> hidden(make_url("postgresql+asyncpg://me:secret@localhost/shop?password=secret"))
    'postgresql+asyncpg://me:***@localhost/shop?password=***'
    """
    secret = {name: "***" for name in address.query if "pass" in name.lower()}
    return address.update_query_dict(secret).render_as_string().replace("%2A", "*")
