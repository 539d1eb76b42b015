"""One check after the other, as far as each has what it needs."""

from collections.abc import Collection

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.asking import EXPECTED, asked, unreachable
from sqla_oban.doctor.crontab import in_code, in_table
from sqla_oban.doctor.finding import Finding, Verdict, problem
from sqla_oban.doctor.notifications import notifications
from sqla_oban.doctor.permissions import permissions
from sqla_oban.doctor.schema import parts, reachable, version
from sqla_oban.doctor.server import server
from sqla_oban.doctor.workers import waiting, workers
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
    if (why := await unreachable(oban.engine)) is not None:
        remedy = "see that the address is right and the server answers"
        return [*found, problem("database", why, remedy, ailment=Ailment.UNREACHABLE)]
    found += await asked(oban.engine, server)
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
        found = await asked(oban.engine, check, home)
        if any(finding.verdict is Verdict.PROBLEM for finding in found):
            return found
    found += await asked(oban.engine, parts, home)
    allowed = await asked(oban.engine, permissions, home)
    found += allowed
    if declared is not None and not any(finding.verdict is Verdict.PROBLEM for finding in allowed):
        found += await asked(oban.engine, waiting, home, declared, oban.settings.queues)
        found += await asked(oban.engine, in_table, home, oban.settings.cron, declared)
    return found
