"""oban.py in a process of its own, driven by lines of JSON: `python peer.py DSN`.

In comes `{"id": 1, "do": "pause_queue", "with": {"queue": "mail"}}`, out goes `{"id": 1, "result": null}` or `{"id": 1,
"error": "..."}`, and in between what happens: `{"event": "oban.job.start", "job": 7}`. It ends with its standard input.
"""

import asyncio
import dataclasses
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import peer_workers
from oban import Job, Oban, telemetry

EVENTS = [
    *("oban.job.start", "oban.job.stop", "oban.job.exception", "oban.stager.stage.stop", "oban.producer.get.stop"),
    *("oban.lifeline.rescue.stop", "oban.pruner.prune.stop", "oban.refresher.refresh.stop"),
    *("oban.refresher.cleanup.stop", "oban.leader.election.stop"),
]
TOLD = ("state", "queue", "count", "rescued_count", "pruned_count", "cleanup_count", "leader")


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what, default=str) + "\n")
    sys.stdout.flush()


class Complaints(logging.Handler):
    """Whatever oban.py or asyncio has to complain about."""

    def emit(self, record: logging.LogRecord) -> None:
        say(event="complaint", message=logging.Formatter().format(record))


class Peer:
    """One instance of oban.py."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def start(self, **options: Any) -> str:
        self._oban = Oban(pool=self._pool, **options)
        await self._oban.start()
        while self._oban._notifier._pending_listen:  # noqa: ASYNC110 (what is sent before would be lost)
            await asyncio.sleep(0.01)
        return str(self._oban._node)

    async def stop(self) -> None:
        await self._oban.stop()

    async def enqueue(self, jobs: list[dict[str, Any]]) -> list[int]:
        made = [Job(**{"worker": "peer_workers.Count", **job}) for job in jobs]
        return [job.id for job in await self._oban.enqueue_many(made)]

    async def release(self) -> None:
        peer_workers.RELEASED.set()

    async def leads(self) -> bool:
        return bool(self._oban.is_leader)

    async def get_job(self, id: int) -> dict[str, Any] | None:
        job = await self._oban.get_job(id)
        return job and {"state": job.state, "args": job.args, "errors": job.errors, "attempt": job.attempt}

    async def check_queue(self, queue: str) -> dict[str, Any] | None:
        info = self._oban.check_queue(queue)
        return info and dataclasses.asdict(info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._oban, name)


def told(name: str, meta: dict[str, Any]) -> None:
    job = {"job": meta["job"].id} if "job" in meta else {}
    say(event=name, **job, **{key: meta[key] for key in TOLD if key in meta})


async def carry_out(peer: Peer, order: dict[str, Any]) -> None:
    try:
        say(id=order["id"], result=await getattr(peer, order["do"])(**order.get("with", {})))
    except Exception as error:
        say(id=order["id"], error=f"{type(error).__name__}: {error}")


def read(on_order: Callable[[dict[str, Any]], Any]) -> None:
    for line in sys.stdin:
        on_order(json.loads(line))
    os._exit(0)  # whoever drives this is gone


async def main(dsn: str) -> None:
    logging.getLogger().addHandler(Complaints(logging.WARNING))
    telemetry.attach("peer", EVENTS, told)
    async with peer_workers.connect(dsn) as pool:
        loop, peer, orders = asyncio.get_running_loop(), Peer(pool), set()

        def take(order: dict[str, Any]) -> None:
            task = loop.create_task(carry_out(peer, order))
            orders.add(task)
            task.add_done_callback(orders.discard)

        threading.Thread(target=read, args=[lambda order: loop.call_soon_threadsafe(take, order)], daemon=True).start()
        say(event="ready")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
