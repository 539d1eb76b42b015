"""Everything that may harm a queue, asked one after the other."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.asking import EXPECTED, asked, unreachable
from sqla_oban.doctor.backlog import backlog
from sqla_oban.doctor.bloat import bloat
from sqla_oban.doctor.finding import Finding, Verdict, problem
from sqla_oban.doctor.horizon import horizon
from sqla_oban.doctor.leadership import leadership
from sqla_oban.doctor.nodes import nodes
from sqla_oban.doctor.notifications import notifications
from sqla_oban.doctor.schema import parts, reachable, version
from sqla_oban.doctor.server import server
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.doctor.vacuum import vacuum
from sqla_oban.doctor.ways import notify_queue, pooler
from sqla_oban.errors import reason
from sqla_oban.migrations import home_of
from sqla_oban.runner import SqlaOban

DEFAULT = Thresholds()


async def diagnosed(
    oban: SqlaOban, *, declared: Collection[str] | None = None, thresholds: Thresholds = DEFAULT
) -> list[Finding]:
    """What harms the queues in the database of `oban`, and what to do about it. Changes nothing.

    Each question has a connection of the engine's to itself, and five seconds for a statement.

    Args:
        oban: started or not.
        declared: the workers of the application; None where it is not known.
        thresholds: from where on something is worth telling.

    >>> [one for one in await diagnosed(oban) if one.remedy]  # doctest: +SKIP
    """
    if (why := await unreachable(oban.engine)) is not None:
        remedy = "see that the address is right and the server answers"
        return [problem("database", why, remedy, ailment=Ailment.UNREACHABLE)]
    found = _named(Ailment.SERVER, await asked(oban.engine, server))
    found.append(await pooler(oban.engine, oban.settings.listen_url))
    found += _named(Ailment.NOTIFICATIONS, [await notifications(oban.engine, oban.settings.listen_url)])
    found += await asked(oban.engine, notify_queue, thresholds)
    found += await asked(oban.engine, horizon, thresholds)
    return found + await _tables(oban, declared, thresholds)


async def _tables(oban: SqlaOban, declared: Collection[str] | None, thresholds: Thresholds) -> list[Finding]:
    engine, name = oban.engine, oban.name
    try:
        async with engine.connect() as connection:
            home = await connection.run_sync(home_of, oban.settings.schema)
    except (*EXPECTED, OSError) as error:
        return [problem("schema", reason(error), ailment=Ailment.SCHEMA)]
    found: list[Finding] = []
    for check in (reachable, version):
        found = _named(Ailment.SCHEMA, await asked(engine, check, home))
        if any(finding.verdict is Verdict.PROBLEM for finding in found):
            return found
    found += _named(Ailment.SCHEMA, await asked(engine, parts, home))
    found += await asked(engine, vacuum, home, thresholds)
    found += await asked(engine, bloat, home, thresholds)
    found += await asked(engine, nodes, home, name, thresholds)
    found += await asked(engine, leadership, home, name, thresholds)
    found += await asked(engine, backlog, home, declared)
    return found


def _named(ailment: Ailment, findings: Iterable[Finding]) -> list[Finding]:
    """What `check` asks as well, with a name for those that read the diagnosis of a queue."""
    return [
        replace(one, ailment=ailment) if one.verdict is Verdict.PROBLEM and one.ailment is None else one
        for one in findings
    ]
