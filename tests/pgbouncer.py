"""A real PgBouncer before the server of the tests."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.examples.server import free_port
from tests.support import PATIENCE

CONFIGURATION = """
[databases]
* = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
query_wait_timeout = 20
{more}
"""


@contextlib.contextmanager
def bouncing(server_url: URL, *, mode: str = "transaction", size: int = 2, more: str = "") -> Iterator[URL]:
    """The address of a PgBouncer that leads to `server_url`, with at most `size` sessions for each database.

    Args:
        mode: its `pool_mode`.
        more: further lines of its configuration.
    """
    binary = program()
    if binary is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        file, log = Path(directory) / "pgbouncer.ini", Path(directory) / "log"
        file.write_text(CONFIGURATION.format(server=_target(server_url), port=port, mode=mode, size=size, more=more))
        with (
            log.open("wb") as output,
            subprocess.Popen([binary, *_as_somebody(Path(directory)), file], stdout=output, stderr=output) as process,
        ):
            try:
                _wait_until_listening(process, port, log)
                yield server_url.set(host="127.0.0.1", port=port, query={})
            finally:
                process.kill()


def program() -> str | None:
    """Where it is installed; Debian's is not on everybody's path."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def version() -> tuple[int, ...]:
    """As in (1, 18); of none it is ()."""
    binary = program()
    if binary is None:
        return ()
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split()[1].split(".")[:2])


def _target(server_url: URL) -> str:
    said = {
        "host": server_url.query.get("host") or server_url.host,
        "port": server_url.port or 5432,
        "user": server_url.username,
        "password": server_url.password,
    }
    return " ".join(f"{name}={value}" for name, value in said.items() if value is not None)


def _as_somebody(directory: Path) -> list[str]:
    """It refuses to be root."""
    if os.geteuid() != 0:
        return []
    account = pwd.getpwnam("nobody")
    for path in (directory, *directory.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    return ["-u", account.pw_name]


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
