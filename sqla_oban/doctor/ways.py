"""What lies between the runners and PostgreSQL: a pooler, and the queue of notifications."""

from collections.abc import Iterator

from sqlalchemy import URL, Connection, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.asking import EXPECTED
from sqla_oban.doctor.finding import Finding, note, ok, problem
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.engine.poolers import promised_process
from sqla_oban.errors import reason

SUBJECT = "notifications"
USAGE = text("SELECT pg_notification_queue_usage()::float")
IDLE = text(
    "SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds "
    "FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND pid <> pg_backend_pid() "
    "ORDER BY xact_start LIMIT 1"
)


def notify_queue(connection: Connection, thresholds: Thresholds) -> Iterator[Finding]:
    """How full it is. When it is full, every commit that notifies fails, in all databases of the server."""
    usage = float(connection.scalar(USAGE) or 0.0)
    if usage <= thresholds.notify_queue:
        yield ok(SUBJECT, f"the queue of notifications is {usage:.1%} full")
        return
    idle = connection.execute(IDLE).one_or_none()
    blamed = f"; the oldest transaction that idles is that of process {idle.pid}" if idle else ""
    yield problem(
        SUBJECT,
        f"the queue of notifications is {usage:.1%} full: somebody who listens does not read{blamed}",
        "a session that LISTENs must not stay in a transaction: end it, by pg_terminate_backend if need be",
        ailment=Ailment.NOTIFY_QUEUE,
        usage=usage,
        pid=idle.pid if idle else None,
    )


async def pooler(engine: AsyncEngine, listen_url: URL | None) -> Finding:
    """Whether another process answers than the server named when the connection was opened."""
    try:
        async with engine.connect() as connection:
            promised = await promised_process(connection)
            pooled = await connection.scalar(select(func.pg_backend_pid())) != promised
    except (*EXPECTED, OSError) as error:
        return problem("pooler", f"it cannot be told: {reason(error)}", ailment=Ailment.UNANSWERED)
    if not pooled:
        return ok("pooler", "no pooler stands between")
    if listen_url is not None:
        return ok("pooler", "a pooler stands between, and listen_url leads past it")
    return note(
        "pooler",
        "a pooler stands between: if it works by the transaction, runners poll instead of being woken",
        "give them listen_url, an address past it",
        ailment=Ailment.POOLER,
    )
