"""Applications as processes, started the way a user starts them."""

import contextlib
import random
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.cli.command import TIMEOUT, environment

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))


@contextlib.contextmanager
def running(command: str, *arguments: str, log: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """An installed command in the root of the project, terminated at the end; what it says goes to `log`."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [SCRIPTS / command, *arguments], cwd=ROOT, env=environment(**more), stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            finally:
                process.kill()


def free_port() -> int:
    """One that is free, and stays so until it is used: the system gives none below 32768 to whoever asks for any."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def get(url: str, **options: Any) -> httpx.Response:
    """What it answers, however long that takes; 503 is of a question to PostgreSQL that took too long."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        answer = httpx.get(url, timeout=TIMEOUT, **options)
        if answer.status_code != 503 or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)


def wait_until(process: subprocess.Popen[bytes], log: Path, url: str) -> None:
    """Wait until `url` answers, whatever it does."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, timeout=TIMEOUT)
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def poll(url: str, field: str) -> object:
    """What `field` of the answer is, once it is something."""
    deadline = time.monotonic() + TIMEOUT
    while not (value := httpx.get(url, timeout=TIMEOUT).json()[field]):
        assert time.monotonic() < deadline, f"waited in vain for {field} at {url}"
        time.sleep(0.05)
    return value
