"""A runner as a process of its own: `python -m tests.faults.node URL OPTIONS`.

Says `ready` when it runs, and ends at the end of its standard input, so that it does not outlive a killed test.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

import tests.faults.payments
import tests.shop  # noqa: F401 (declares the workers)
from sqla_oban import QueueConfig, SqlaOban, telemetry
from sqla_oban.settings import LeaderSettings
from sqla_oban.telemetry.events import RunnerStarted, RunnerStopped
from tests.support import MORTAL, fast_settings


async def main(url: str, options: dict[str, Any]) -> None:
    os.environ["SHOP_URL"] = url
    threading.Thread(target=end_with_parent, daemon=True).start()
    telemetry.attach(lambda _: say("ready"), RunnerStarted)
    telemetry.attach(lambda event: say(f"stopped {event.unfinished}"), RunnerStopped)
    queues = options.pop("queues", {})
    options["queues"] = {name: QueueConfig(**one) if isinstance(one, dict) else one for name, one in queues.items()}
    settings = fast_settings() if options.pop("fast") else {}
    if options.pop("mortal"):
        settings["heartbeat"] = MORTAL
    if "leader" in options:
        options["leader"] = LeaderSettings(**options["leader"])
    engine = create_async_engine(url)
    await SqlaOban(engine, **{**settings, **options}).run()
    await engine.dispose()


def say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


def end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
