"""Jobs that nobody will run: in queues without a node, or of workers that no node knows."""

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, Interval, Select, exists, literal_column, select, text

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, ok, problem
from sqla_oban.doctor.workers import escaped
from sqla_oban.queries.available import queues_with_work
from sqla_oban.queries.expressions import PRODUCERS, now

SUBJECT = "backlog"
BEATEN = "60 seconds"
"""How long ago a node may have beaten that runs a queue."""
UNKNOWN = """
    SELECT worker, count(*) AS number, min(id) AS id FROM (
      SELECT id, worker, to_jsonb(errors) AS errors FROM {home}.oban_jobs WHERE state = 'retryable' LIMIT 10000) failed
    WHERE errors -> -1 ->> 'error' LIKE '%UnknownWorker: no worker is named%' GROUP BY worker ORDER BY worker LIMIT 50
"""


def backlog(connection: Connection, home: str, declared: Collection[str] | None) -> Iterator[Finding]:
    """Queues with jobs and without a node; workers of failed jobs that their nodes did not know.

    Args:
        declared: the workers of the application; None where none was given.
    """
    found = [_queue(queue) for queue in connection.scalars(_without_node(), execution_options=_in(home))]
    found += [
        _worker(row.worker, row.number, row.id, here=declared is not None and row.worker in declared)
        for row in connection.execute(text(UNKNOWN.format(home=escaped(home))))
    ]
    yield from found or [ok(SUBJECT, "every job that waits has a node that runs its queue and knows its worker")]


def _without_node() -> Select[Any]:
    """Up to 50 queues with jobs to claim and without a node, from one to the next by the indexes of the claim."""
    waiting = queues_with_work()
    since = now() - literal_column(f"interval '{BEATEN}'", Interval())
    run = exists().where(PRODUCERS.c.queue == waiting.c.queue, PRODUCERS.c.updated_at > since)
    return select(waiting.c.queue).where(waiting.c.queue.is_not(None), ~run).order_by(waiting.c.queue).limit(50)


def _in(home: str) -> dict[str, Any]:
    return {"schema_translate_map": {None: home}}


def _queue(queue: str) -> Finding:
    return problem(
        SUBJECT,
        f"jobs wait in the queue {queue}, which no node runs",
        "add it to the queues of a node: SqlaOban(queues=...), or sqla-oban run --queues",
        ailment=Ailment.QUEUE_WITHOUT_NODE,
        queue=queue,
    )


def _worker(worker: str, number: int, first: int, *, here: bool) -> Finding:
    known = "this application declares it, so deploy it there" if here else "import the module that declares it there"
    return problem(
        SUBJECT,
        f"{number:,} job{'s' * (number != 1)} of {worker} came to nodes that do not know that worker",
        f"{known}, or delete them: sqla-oban jobs delete --worker {worker} --state retryable",
        ailment=Ailment.UNKNOWN_WORKER,
        worker=worker,
        jobs=number,
        first=first,
    )
