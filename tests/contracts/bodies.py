"""Workers that every kind of dispatcher can run: a process finds them by importing this module."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

from sqla_oban import Cancel, Job, Record, Snooze, current_job, job, worker


class Unsendable(Exception):
    """Cannot be pickled, nor made anew if it could."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)
        self.lock = threading.Lock()


def outcome(name: str) -> object:
    return {
        "snooze": Snooze(5.0, meta={"a": 1}),
        "cancel": Cancel("enough"),
        "record": Record({"pages": [1, 2]}),
        "none": None,
        "other": threading.Lock(),
    }[name]


def fail(name: str) -> object:
    raise {
        "value": ValueError("x"),
        "timeout": TimeoutError("slow"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "unsendable": Unsendable("a", "b"),
        "cancelled": asyncio.CancelledError("own"),
    }[name]


def running(day: date) -> object:
    one = current_job()
    return Record([one.id, one.attempt, one.worker, one.queue, one.args, day.isoformat(), one.cancelled])


job(name="bodies.outcome")(outcome)
job(name="bodies.fail")(fail)
job(name="bodies.running")(running)


@job(name="bodies.outcome_async")
async def outcome_async(name: str) -> object:
    return outcome(name)


@job(name="bodies.fail_async")
async def fail_async(name: str) -> object:
    return fail(name)


@job(name="bodies.running_async")
async def running_async(day: date) -> object:
    return running(day)


@worker(name="bodies.Plain")
class Plain:
    def process(self, job: Job) -> object:
        return Record([job.id, job.args, job.state])


@worker(name="bodies.Awaited")
class Awaited:
    async def process(self, job: Job) -> object:
        return Record([job.id, job.args, job.state])


def touch(file: str) -> None:
    Path(file).touch()


@job(name="bodies.obey")
def obey(begun: str) -> object:
    """Stops when it is told to, with a result."""
    touch(begun)
    while not current_job().cancelled:
        time.sleep(0.01)
    return Record("saved")


@job(name="bodies.obey_async")
async def obey_async(begun: str) -> object:
    touch(begun)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return Record("saved")
    return None


@job(name="bodies.give_up_async")
async def give_up_async(begun: str) -> None:
    touch(begun)
    await asyncio.Event().wait()


@job(name="bodies.pid")
def pid() -> object:
    return Record(os.getpid())


@job(name="bodies.loop")
async def loop() -> object:
    return Record([os.getpid(), id(asyncio.get_running_loop())])


@job(name="bodies.stay")
def stay(begun: str) -> None:
    """Ends only with its process; says which that is, and which it has started."""
    inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    unfinished = Path(begun + ".part")
    unfinished.write_text(f"{os.getpid()} {inner.pid}")
    unfinished.rename(begun)
    time.sleep(600)


@job(name="bodies.ignore_signals")
def ignore_signals() -> object:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return Record("alive")


@job(name="bodies.die")
def die(how: str) -> None:
    match how:
        case "exit":
            os._exit(3)
        case "abort":
            os.abort()
        case "orphan":  # what it started keeps the line open
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            os.kill(os.getpid(), signal.SIGKILL)


@job(name="bodies.unsendable_outcome")
def unsendable_outcome() -> object:
    class Odd(dict[str, Any]):
        """Local, so that no other process knows it."""

    return Snooze(5.0, meta=Odd(a=1))


@job(name="bodies.forgetful")
def forgetful() -> object:
    return outcome_async("none")


@job(name="bodies.grow")
def grow() -> object:
    KEPT.append(bytearray(os.urandom(1)) * 150_000_000)
    return Record(os.getpid())


KEPT: list[bytearray] = []


def fail_to_set_up() -> None:
    raise ValueError("no configuration")


def set_up_nonsense() -> int:
    return 5


async def set_up_nothing() -> None: ...
