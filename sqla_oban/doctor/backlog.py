"""Jobs that nobody will run: in queues without a node, or of workers that no node knows."""

from collections.abc import Collection, Iterator

from sqlalchemy import Connection, text

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, ok, problem
from sqla_oban.doctor.workers import escaped

SUBJECT = "backlog"
QUEUES = """
    WITH RECURSIVE waiting (queue) AS (
      SELECT min(queue) FROM {home}.oban_jobs WHERE state = 'available'
      UNION ALL SELECT (SELECT min(queue) FROM {home}.oban_jobs WHERE state = 'available' AND queue > w.queue)
      FROM waiting w WHERE w.queue IS NOT NULL)
    SELECT queue FROM waiting WHERE queue IS NOT NULL AND NOT EXISTS (
      SELECT FROM {home}.oban_producers p WHERE p.queue = waiting.queue
        AND p.updated_at > timezone('UTC', clock_timestamp()) - interval '60 seconds')
    ORDER BY queue LIMIT 50
"""
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
    found = [_queue(queue) for queue in connection.scalars(text(QUEUES.format(home=escaped(home))))]
    found += [
        _worker(row.worker, row.number, row.id, here=declared is not None and row.worker in declared)
        for row in connection.execute(text(UNKNOWN.format(home=escaped(home))))
    ]
    yield from found or [ok(SUBJECT, "every job that waits has a node that runs its queue and knows its worker")]


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
