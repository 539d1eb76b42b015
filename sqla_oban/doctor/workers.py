"""Whether everything that is to run has a worker here."""

from collections.abc import Collection, Iterator

from sqlalchemy import Connection, text

from sqla_oban.doctor.finding import Finding, note, ok, problem
from sqla_oban.identifiers import quoted
from sqla_oban.workers.registry import REGISTRY

SUBJECT = "workers"
QUEUES = "queues"
IMPORT = "import the module that declares it in the application's, or with --import"

WAITING = """
    SELECT DISTINCT worker FROM (
      SELECT worker FROM {home}.oban_jobs WHERE state = 'available' AND queue = ANY(:queues) LIMIT 10000
    ) waiting ORDER BY worker
"""


def workers(declared: Collection[str], queues: Collection[str]) -> Iterator[Finding]:
    """Whether the application declares workers, and where their jobs go."""
    if not queues:
        yield note(QUEUES, "no queue runs here", "name them in the application, or with --queues")
    else:
        yield ok(QUEUES, f"run here: {', '.join(queues)}")
    if not declared and queues:
        yield problem(SUBJECT, "no module that was imported declares a worker", IMPORT)
    elif declared:
        yield ok(SUBJECT, f"declared: {', '.join(sorted(declared))}")
    for worker in sorted(declared):
        queue = REGISTRY.get(worker).queue
        if queues and queue not in queues:
            yield note(QUEUES, f"jobs of {worker} go to the queue {queue}, which does not run here")


def waiting(connection: Connection, home: str, declared: Collection[str], queues: Collection[str]) -> Iterator[Finding]:
    """Whether the jobs that wait here, of which it looks at some, have a worker."""
    for worker in connection.scalars(text(WAITING.format(home=escaped(home))), {"queues": list(queues)}):
        if worker not in declared:
            yield problem(SUBJECT, f"jobs wait for the worker {worker}, which nothing imported declares", IMPORT)


def escaped(home: str) -> str:
    """A schema as an identifier inside `text()`, where a colon in its name is to be no parameter."""
    return quoted(home).replace(":", r"\:")
