"""Connects what is heard with whom it concerns, from the notifier's thread to the runner's loop."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.producer import Producer
from sqla_oban.engine.producers import Producers
from sqla_oban.engine.queues import LocalQueues
from sqla_oban.engine.signals import CronsChanged, Kill, QueuesChanged, Signal, Steer, understood

log = logging.getLogger(__name__)


class Switchboard:
    """Hands notices on.

    Args:
        on_due_soon: called, from any thread, when a job was scheduled that is due within seconds.
        on_crons: called, in the runner's loop, when the crontab has changed.
        on_hearing: called, in the notifier's thread, when hearing begins anew: who waits for a word of others looks.
    """

    def __init__(
        self,
        notifier: Notifier,
        producers: Producers,
        queues: LocalQueues,
        *,
        on_due_soon: Callable[[], None],
        on_crons: Callable[[], None],
        on_hearing: Callable[[], None],
    ) -> None:
        self._notifier = notifier
        self._producers = producers
        self._queues = queues
        self._on_due_soon = on_due_soon
        self._on_crons = on_crons
        self._on_anew = on_hearing

    def connect(self) -> None:
        """Hand on what is heard, to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._notifier.subscribe("insert", self._on_insert)
        self._notifier.subscribe("signal", self._on_signal)
        self._notifier.on_hearing = self._on_hearing

    def _on_insert(self, notice: Mapping[str, Any]) -> None:
        if notice.get("due_soon") is True:
            self._on_due_soon()
            return
        producer = self._producers.open.get(str(notice.get("queue")))
        if producer is not None:
            hear = partial(producer.hear, unrung=notice.get("unrung") is True)
            self._loop.call_soon_threadsafe(hear)

    def _on_signal(self, notice: Mapping[str, Any]) -> None:
        signal = understood(notice)
        if signal is None:
            log.debug("ignored a signal that says nothing to us: %.200r", notice)
        else:
            self._loop.call_soon_threadsafe(self._obey, signal, notice)

    def _on_hearing(self) -> None:
        """What was said while nothing was heard is lost; the tables know it."""
        self._producers.tell(Producer.look)
        self._queues.wake()
        self._on_anew()

    def _obey(self, signal: Signal, notice: Mapping[str, Any]) -> None:
        match signal:
            case Kill():
                for producer in self._producers:
                    producer.running.cancel(signal.job_id, signal.attempt)
            case Steer() | QueuesChanged():
                self._queues.hear(signal, notice)
            case CronsChanged():
                self._on_crons()
