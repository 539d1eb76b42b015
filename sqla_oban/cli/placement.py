"""Whether the queues that run here are those to which the jobs of workers go."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches

from sqla_oban.workers.definition import Definition


def unserved(workers: Collection[Definition], running: Collection[str]) -> Iterator[str]:
    """Says, if it is so, that jobs of workers go to queues that do not run here.

    >>> list(unserved([], {"default"}))
    []
    """
    elsewhere: dict[str, str] = {}
    for worker in sorted(workers, key=lambda one: one.name):
        if worker.queue not in running:
            elsewhere.setdefault(worker.queue, worker.name)
    if elsewhere:
        told = ", ".join(f"{queue} (as of {worker})" for queue, worker in sorted(elsewhere.items()))
        yield f"queues of imported workers that do not run here, so that jobs wait for another node: {told}"


def unused(workers: Collection[Definition], running: Collection[str], known: Collection[str]) -> Iterator[str]:
    """Says of each queue that it runs although no worker has it, nor the application.

    Args:
        workers: those that are declared here.
        running: the queues that were named.
        known: those that the application has itself.

    >>> list(unused([], {"mialers"}, {"mailers"}))
    ["no imported worker has the queue 'mialers', which runs here; did you mean 'mailers'?"]
    """
    homes = {*known, *(worker.queue for worker in workers)}
    for queue in sorted(set(running) - homes):
        close = get_close_matches(queue, homes, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        yield f"no imported worker has the queue {queue!r}, which runs here{hint}"
