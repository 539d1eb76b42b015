"""Whether a runner lives, and whether it is ready."""

import asyncio
import json
import time
from typing import Self

from sqla_oban import telemetry
from sqla_oban.observe.answer import Answer, Endpoints
from sqla_oban.runner import SqlaOban
from sqla_oban.settings.checks import positive
from sqla_oban.telemetry.events import (
    Beaten,
    Event,
    ListenerDown,
    ListenerUp,
    LivenessLost,
    RunnerStarted,
    RunnerStopped,
    RunnerStopping,
)

KINDS = (Beaten, LivenessLost, ListenerUp, ListenerDown, RunnerStarted, RunnerStopping, RunnerStopped)

PULSE = 1.0
"""Seconds between two signs of life of the event loop."""


class Health:
    """The health of a runner, as probes of a service manager ask for it.

    - `/live`: the event loop has run within `patience`. The database does not matter here: to start again because it
      is away would help nobody.
    - `/ready`: PostgreSQL knows that the runner lives, and it was not told to stop.

    The status is 200 or 503, the body a JSON object with what was looked at.

    Args:
        oban: the runner.
        patience: seconds for which a job may block the event loop before the process counts as stuck.

    Raises:
        ConfigurationError: `patience` is no number of seconds.

    >>> async with Health(oban) as health:  # doctest: +SKIP
    ...     app.mount("/health", asgi(health.endpoints))
    """

    def __init__(self, oban: SqlaOban, *, patience: float = 300.0) -> None:
        positive("patience", patience)
        self._oban = oban
        self._patience = patience
        self._ran = time.monotonic()
        self._beating = False
        self._stopping = False
        self._hearing = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def endpoints(self) -> Endpoints:
        """What is served, by its path."""
        return {"/live": self.live, "/ready": self.ready}

    def live(self) -> Answer:
        """Whether the process does anything at all."""
        silent = time.monotonic() - self._ran
        return _answer(well=silent <= self._patience, loop_silent_for=round(silent, 1))

    def ready(self) -> Answer:
        """Whether jobs are run here."""
        return _answer(
            well=self._beating and not self._stopping,
            stopping=self._stopping,
            beating=self._beating,
            hearing=self._hearing,
            leader=self._oban.is_leader,
            node=self._oban.node,
        )

    async def __aenter__(self) -> Self:
        telemetry.attach(self._see, *KINDS)
        self._tick()
        return self

    async def __aexit__(self, *_: object) -> None:
        telemetry.detach(self._see)
        if self._timer is not None:
            self._timer.cancel()

    def _see(self, event: Event) -> None:
        if event.node != self._oban.node:
            return
        match event:
            case Beaten() | LivenessLost():
                self._beating = isinstance(event, Beaten)
            case ListenerUp() | ListenerDown():
                self._hearing = isinstance(event, ListenerUp)
            case RunnerStarted() | RunnerStopping():
                self._stopping = isinstance(event, RunnerStopping)
            case RunnerStopped():  # it beats to the end, so that the jobs that still run are not given to others
                self._beating = self._hearing = False

    def _tick(self) -> None:
        self._ran = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(PULSE, self._tick)


def _answer(*, well: bool, **facts: str | float | bool) -> Answer:
    body = json.dumps({"status": "ok" if well else "failed", **facts}) + "\n"
    return Answer(200 if well else 503, "application/json", body.encode())
