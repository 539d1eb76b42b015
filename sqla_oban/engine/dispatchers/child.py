"""What a process does that runs jobs for a runner: `WorkerProcess` starts it, through `main`."""

import asyncio
import contextlib
import contextvars
import faulthandler
import json
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from sqla_oban.engine.dispatchers.arrangement import imported, made
from sqla_oban.engine.dispatchers.dispatcher import awaited_by_nobody
from sqla_oban.engine.dispatchers.memory import resident_memory
from sqla_oban.engine.dispatchers.wire import Boot, Leave, Order, Outcome, Raised, Reply, Stop
from sqla_oban.engine.executor import describe, judged, summary
from sqla_oban.engine.loading import load, model_of
from sqla_oban.errors import UnknownWorker
from sqla_oban.outcomes import Cancel, Record, Snooze
from sqla_oban.queries.ack import Ack
from sqla_oban.workers.calls import Settled, Surroundings
from sqla_oban.workers.context import RUNNING, RunningJob, running_job
from sqla_oban.workers.definition import Definition
from sqla_oban.workers.parking import Parked
from sqla_oban.workers.providing import Provider
from sqla_oban.workers.registry import REGISTRY


def main(line: int, trace: int) -> None:
    """Run jobs until the runner says otherwise, or is gone.

    Args:
        line: the file descriptor of the connection to the runner.
        trace: that of a file for what is to be said of a crash.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # a service manager may send them to all; the runner decides here
        signal.signal(number, lambda *_: None)
    for descriptor in (line, trace):
        os.set_inheritable(descriptor, False)
    faulthandler.enable(trace)
    Child(Connection(line)).run()


class Turn:
    """One execution, as the two threads see it: one runs it, the other may stop it."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.stopped = False
        self.cancelled = False
        self.running: RunningJob | None = None
        self.task: asyncio.Task[Any] | None = None

    def stop(self, *, cancelled: bool) -> None:
        """Have it end: the worker is told, and an async one is cancelled."""
        self.stopped = True
        self.cancelled = cancelled
        if self.running is not None:
            self.running.cancel()
        if self.task is not None:
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)

    def go_on(self) -> None:
        """To be called when it can be stopped, right before the worker begins.

        Raises:
            CancelledError: it was stopped before.
        """
        if self.stopped:
            raise asyncio.CancelledError


class Child:
    """Runs jobs in the main thread, async ones in a loop that is kept, and listens to the runner in another.

    The listener ends the process when the line breaks, whatever runs: the runner is gone, and its jobs with it.
    """

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._turns: queue.SimpleQueue[Turn | None] = queue.SimpleQueue()
        self._latest: Turn | None = None
        self._loop = asyncio.Runner()

    def run(self) -> None:
        """Set up, and then run what is ordered."""
        boot: Boot = pickle.loads(self._line.recv_bytes())  # noqa: S301 (our own runner's)
        threading.Thread(target=self._listen, name="sqla_oban listener", daemon=True).start()
        with self._loop:
            if (provider := self._set_up(boot)) is None:
                return
            while (turn := self._turns.get()) is not None:
                self._say(self._done(turn, boot, provider))

    def _set_up(self, boot: Boot) -> Provider | None:
        sys.argv[:] = boot.argv
        try:
            provider = self._loop.run(made(boot))
        except BaseException as error:
            self._say(Reply(raised=_raised(error)))
            return None
        self._say(Reply())
        return provider

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                match pickle.loads(self._line.recv_bytes()):  # noqa: S301 (our own runner's)
                    case Order() as order:
                        self._latest = Turn(order)
                        self._turns.put(self._latest)
                    case Stop(key, cancelled) if self._latest is not None and self._latest.order.key == key:
                        self._latest.stop(cancelled=cancelled)
                    case Leave():
                        self._turns.put(None)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    def _say(self, reply: Reply) -> None:
        try:
            message = pickle.dumps(reply)
        except Exception as error:  # an outcome may hold objects of any kind
            message = pickle.dumps(Reply(raised=_raised(error), memory=reply.memory))
        self._line.send_bytes(message)

    def _done(self, turn: Turn, boot: Boot, provider: Provider) -> Reply:
        context = contextvars.copy_context()
        try:
            result = context.run(self._work, turn, boot, provider, context)
            return Reply(_outcome(result), memory=resident_memory())
        except Parked as parked:
            return Reply(parked.outcome, memory=resident_memory())
        except BaseException as error:
            if turn.stopped and isinstance(error, asyncio.CancelledError):
                return Reply(stopped=True, memory=resident_memory())
            return Reply(raised=_raised(error), memory=resident_memory())

    def _work(self, turn: Turn, boot: Boot, provider: Provider, context: contextvars.Context) -> object:
        order = turn.order
        definition = _declared(order, boot)
        claimed, args = order.claimed, json.loads(order.claimed.args)
        model = model_of(definition, provider)
        make_job = partial(load, claimed, queue=order.queue, holder=order.holder, model=model, own=order.own)
        surroundings = Surroundings(make_job, provider, partial(_judge, turn))
        call = definition.prepare(args, surroundings)
        turn.running = running_job(claimed, args, queue=order.queue, schema=boot.schema)
        turn.running.part = order.part
        RUNNING.set(turn.running)
        if definition.asynchronous:
            result, error = self._loop.run(_awaited(turn, call), context=contextvars.copy_context())
            if error is not None:
                raise error
            return result
        turn.go_on()
        return awaited_by_nobody(call())


async def _awaited(turn: Turn, call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Result and exception as values: SystemExit would end the loop."""
    turn.task = asyncio.current_task()
    try:
        turn.go_on()
        return await call(), None
    except BaseException as error:
        return None, error


def _declared(order: Order, boot: Boot) -> Definition:
    imported(order.module, boot)
    try:
        return REGISTRY.get(order.claimed.worker)
    except UnknownWorker:
        raise UnknownWorker(
            f"{order.claimed.worker!r} is to run in a process, and importing {order.module!r} there does not declare "
            "it; declare it at the top of the module"
        ) from None


def _judge(turn: Turn, result: object) -> Ack:
    return judged(turn.order.claimed, result, cancelled=turn.cancelled)


def _outcome(result: object) -> Outcome:
    match result:
        case Snooze() | Cancel() | Record():
            return result
        case Settled():
            return Settled(None, result.ack)
        case _:
            return None


def _raised(error: BaseException) -> Raised:
    return Raised(type(error).__qualname__, summary(error), describe(error))
