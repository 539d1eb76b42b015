"""A node of the demonstration: a process that runs the shop's jobs until its standard input ends.

The input is a pipe whose only writer is the demonstration, so the node ends with it, however that ends.
"""

import asyncio
import os
import sys
import threading

from sqlalchemy.ext.asyncio import create_async_engine

from sqla_oban import SqlaOban, telemetry
from sqla_oban.cli.demo import shop
from sqla_oban.cli.demo.sentence import WORDS
from sqla_oban.cli.demo.wire import Assignment, encode
from sqla_oban.settings import HeartbeatSettings, LeaderSettings, LifelineSettings, StagerSettings
from sqla_oban.telemetry.events import Event

FAREWELL = 5.0
"""Seconds that a node takes to stop at most: the server may be gone before it."""


def main() -> None:
    """Run as the first line of standard input says."""
    asyncio.run(serve(Assignment.decode(sys.stdin.readline())))


async def serve(assignment: Assignment) -> None:
    """Run jobs until standard input ends; everything is quicker than by default, because somebody is watching."""
    engine = create_async_engine(assignment.url)
    tables = engine.execution_options(schema_translate_map={None: assignment.schema})
    shop.sessions.configure(bind=tables)
    telemetry.attach(report, *WORDS)
    async with SqlaOban(
        engine,
        queues={"default": 5},
        node=assignment.node,
        schema=assignment.schema,
        heartbeat=HeartbeatSettings(interval=0.5, ttl=3, margin=1),
        leader=LeaderSettings(ttl=2, margin=0.4),
        lifeline=LifelineSettings(interval=0.5),
        stager=StagerSettings(interval=0.5),
        shutdown_grace_period=1,
    ):
        await asyncio.to_thread(sys.stdin.read)
        leave_soon()
    await engine.dispose()


def report(event: Event) -> None:
    """Tell the demonstration what happens; one write, because events come from several threads."""
    sys.stdout.write(encode(event))
    sys.stdout.flush()


def leave_soon() -> None:
    """Have the process end even if stopping in order does not: there may be no database left to say goodbye to."""
    last_resort = threading.Timer(FAREWELL, os._exit, [1])
    last_resort.daemon = True
    last_resort.start()


if __name__ == "__main__":
    main()
