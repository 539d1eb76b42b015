"""One check after the other, as far as each has what it needs."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.cli.address import knock
from sqla_oban.cli.checks.crontab import in_code, in_table
from sqla_oban.cli.checks.finding import Finding, Verdict, problem
from sqla_oban.cli.checks.notifications import notifications
from sqla_oban.cli.checks.permissions import permissions
from sqla_oban.cli.checks.schema import parts, reachable, version
from sqla_oban.cli.checks.server import server
from sqla_oban.cli.checks.workers import waiting, workers
from sqla_oban.cli.failure import EXPECTED
from sqla_oban.errors import reason
from sqla_oban.migrations import home_of
from sqla_oban.runner import SqlaOban


async def examined(oban: SqlaOban, declared: Collection[str] | None) -> list[Finding]:
    """Everything about the database of `oban`, and whether what is to run there has a worker.

    Args:
        oban: not started.
        declared: the workers that were declared for it; None for a database without an application.
    """
    found: list[Finding] = []
    if declared is not None:
        found += [*workers(declared, oban.settings.queues), *in_code(oban.settings.cron, declared)]
    try:
        await knock(oban.engine)
    except click.ClickException as error:
        return [*found, problem("database", error.message, "see that the address is right and the server answers")]
    found += await _asked(oban.engine, server)
    found += await _tables(oban, declared)
    found.append(await notifications(oban.engine, oban.settings.listen_url))
    return found


async def _tables(oban: SqlaOban, declared: Collection[str] | None) -> list[Finding]:
    try:
        async with oban.engine.connect() as connection:
            home = await connection.run_sync(home_of, oban.settings.schema)
    except EXPECTED as error:
        return [problem("schema", reason(error))]
    for check in (reachable, version):
        found = await _asked(oban.engine, check, home)
        if any(finding.verdict is Verdict.PROBLEM for finding in found):
            return found
    found += await _asked(oban.engine, parts, home)
    allowed = await _asked(oban.engine, permissions, home)
    found += allowed
    if declared is not None and not any(finding.verdict is Verdict.PROBLEM for finding in allowed):
        found += await _asked(oban.engine, waiting, home, declared, oban.settings.queues)
        found += await _asked(oban.engine, in_table, home, oban.settings.cron, declared)
    return found


async def _asked(engine: AsyncEngine, check: Callable[..., Iterable[Finding]], *arguments: Any) -> list[Finding]:
    """What `check` finds; that it could not be asked is a finding as well."""
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: list(check(sync, *arguments)))
    except EXPECTED as error:
        return [problem("database", f"a question about its {check.__name__} failed: {reason(error)}")]
