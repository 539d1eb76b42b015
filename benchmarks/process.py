"""A contender's process, and the conversation with it."""

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.contenders import Entrant
from benchmarks.failure import Unmeasured

PATIENCE = 120.0
"""Seconds an answer may take, beyond what the request itself takes."""
FAREWELL = 5.0
"""Seconds a process has to end by itself."""


class Process:
    """Speaks to one contender on one database; killed with all its children at the end.

    Raises:
        Unmeasured: the contender's packages cannot be had.

    >>> with Process(OURS, url) as process:  # doctest: +SKIP
    ...     process.ask("fill", jobs=100)
    """

    def __init__(self, entrant: Entrant, url: str) -> None:
        command, environment = entrant.command(url)
        self._name = entrant.name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        self._said = b""

    def ask(self, do: str, *, within: float = 0, **arguments: Any) -> dict[str, Any]:
        """Its answer to one request, which takes about `within` seconds.

        Raises:
            Unmeasured: it cannot do that, failed, died or took too long.
        """
        self.request(do, **arguments)
        return self.answer(within)

    def request(self, do: str, **arguments: Any) -> None:
        """Ask without waiting for the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer says what became of it
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self, within: float = 0) -> dict[str, Any]:
        """The answer to the oldest request that has none."""
        answer: dict[str, Any] = json.loads(self._line(time.monotonic() + within + PATIENCE))
        if "missing" in answer:
            raise Unmeasured(answer["missing"])
        if "error" in answer:
            raise Unmeasured(answer["error"])
        return answer

    def peak_memory(self) -> float:
        """The most memory it has had resident, in MB; not that of its children.

        Raises:
            Unmeasured: this machine's kernel does not say.
        """
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            raise Unmeasured("only Linux tells the peak of a process's memory")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) / 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._said:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise Unmeasured(f"gave no answer within {PATIENCE:g} s")
                said = os.read(self._process.stdout.fileno(), 2**20)
                if not said:
                    raise Unmeasured(f"its process ended: {self._last_words()}")
                self._said += said
        line, _, self._said = self._said.partition(b"\n")
        return line

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"
