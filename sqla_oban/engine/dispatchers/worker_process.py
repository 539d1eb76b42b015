"""A process that runs jobs, as its runner sees it."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.spawn import get_executable

from sqla_oban.engine.dispatchers.wire import Boot, Leave, Order, Reply, Stop
from sqla_oban.errors import ProcessNotStarted, WorkerDied
from sqla_oban.settings import ProcessSettings

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from sqla_oban.engine.dispatchers.child import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)
"""The path comes first: without it the library itself may not be found."""
LEAVING = 5.0
"""Seconds that an idle process has to end by itself."""
DYING = 1.0
"""Seconds that one may take to end after its end of the line was closed."""
BURIAL = 10.0
"""Seconds that the system may take to end a killed one."""


class WorkerProcess:
    """A process that runs one job after the other.

    Its methods block, unless they say otherwise, and may be called from any thread.

    It is spawned, never forked: a fork would inherit the runner's connections, locks and threads in the state they
    were in. It is a process group of its own: what is typed at the terminal does not reach it, and a kill takes what
    its job started along. It ends when the runner ends, however that ends, because the line between the two breaks.

    Attributes:
        jobs: how many it was given.
    """

    def __init__(self, settings: ProcessSettings, schema: str | None) -> None:
        self.jobs = 0
        self._timeout = settings.start_timeout
        self._boot = Boot(list(sys.argv), getattr(sys.modules["__main__"], "__file__", None), settings.setup, schema)
        self._line, self._far_end = Pipe()
        self._trace = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process is gone)
        self._sending = threading.Lock()
        self._changing = threading.Lock()
        self._closing = threading.Lock()
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._death: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended; does not block."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ProcessNotStarted: it is not, and why.
        """
        try:
            self._spawn()
            self._send(self._boot)
            reply = self._receive(self._timeout)
            why = f"it took more than {self._timeout:g} s" if reply is None else _told(reply)
        except (EOFError, OSError) as error:
            why = f"it {self._bury()}" if self._process is not None else str(error)
        if why is not None:
            self.end()
            raise ProcessNotStarted(f"a process for jobs could not be started: {why}")

    def ask(self, order: Order) -> Reply:
        """Have a job's work done.

        Raises:
            WorkerDied: the process ended before the work did.
        """
        self.jobs += 1
        try:
            self._send(order)
            reply = self._receive()
        except (EOFError, OSError):
            raise WorkerDied(f"the process that ran the job {self._bury()}") from None
        assert reply is not None
        return reply

    def tell(self, what: Stop | Leave) -> None:
        """Have it stop what it does, if it still does that, or end once it has nothing to do."""
        with contextlib.suppress(OSError):
            self._send(what)

    def kill(self) -> None:
        """End it and all that it started, now; does not block."""
        with self._changing:
            self._killed = True
            if self._process is not None and self._process.returncode is None:  # its id is nobody else's yet
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Have it end if it has nothing to do, else kill it; the last thing to be done with it."""
        with self._closing:
            if self._process is not None and not self._trace.closed:
                self._leave(self._process)
            for end in (self._line, self._far_end, self._trace):
                end.close()
            if self._death is not None:
                os.close(self._death)
                self._death = None

    def _leave(self, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None and not self._killed:
            self.tell(Leave())
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LEAVING)
        self._bury()

    def _spawn(self) -> None:
        fds = self._far_end.fileno(), self._trace.fileno()
        flags = [*(f"-W{option}" for option in sys.warnoptions), *(["-O"] * sys.flags.optimize)]
        path = json.dumps(sys.path)
        command = [os.fsdecode(get_executable()), *flags, "-c", BOOT, path, *map(str, fds)]
        with self._changing:
            if self._killed:
                raise OSError("it is not wanted any more")
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=fds, process_group=0)
        self._far_end.close()
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # a sandbox may forbid it
                self._death = os.pidfd_open(self._process.pid)

    def _send(self, what: Boot | Order | Stop | Leave) -> None:
        message = pickle.dumps(what)
        with self._sending:
            self._line.send_bytes(message)

    def _receive(self, timeout: float | None = None) -> Reply | None:
        """What it says; None if it says nothing in time.

        Its end of the line may be held open by what it started, so its death is looked for as well, where that can be.
        """
        watched: tuple[Connection | int, ...] = (self._line, *([] if self._death is None else [self._death]))
        ready = wait(watched, timeout)
        if not ready:
            return None
        if self._line not in ready and not self._line.poll():
            raise EOFError
        reply: Reply = pickle.loads(self._line.recv_bytes())  # noqa: S301 (it is our own process)
        return reply

    def _read_trace(self) -> str:
        """What faulthandler said of a crash."""
        self._trace.seek(0)
        return self._trace.read().decode(errors="replace")

    def _bury(self) -> str:
        """Make sure that it has ended, and say how it did."""
        assert self._process is not None
        if self._death is not None:
            wait([self._death], DYING)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(DYING)
        self.kill()
        code = self._process.wait(BURIAL)
        trace = "" if self._trace.closed else self._read_trace()
        return _ending(code) + (f"\n{trace}" if trace else "")


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = "; if nobody sent it, the memory ran out" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


def _told(reply: Reply) -> str | None:
    return None if reply.raised is None else f"{reply.raised.summary}\n{reply.raised.told}"
