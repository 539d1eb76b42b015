import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sqla_oban.errors import TemporaryPostgresError
from sqla_oban.testing import TemporaryPostgres
from sqla_oban.testing.temporary_postgres import find_binaries
from tests.examples.server import free_port
from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys
from sqla_oban.testing import TemporaryPostgres
server = TemporaryPostgres().start()
pid = (server.directory / "data" / "postmaster.pid").read_text().split()[0]
print(server.directory, pid, server.directory.stat().st_uid, flush=True)
sys.stdin.read()
server.stop()
"""


def open_to_all(path: Path) -> bool:
    return path.exists() and all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def python_for_all() -> str | None:
    """An interpreter like ours that any user may run: ours may stand in root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (Path(sys.executable).resolve(), Path("/usr/bin", version), Path("/usr/local/bin", version))
    return next((str(path) for path in candidates if open_to_all(path)), None)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


@contextlib.contextmanager
def connected(server: TemporaryPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url().set(drivername="postgresql").render_as_string(), autocommit=True) as connection:
        yield connection


def ask(server: TemporaryPostgres, sql: str) -> object:
    with connected(server) as connection:
        row = connection.execute(sql.encode()).fetchone()
    return row[0] if row else None


def pid_of(server: TemporaryPostgres) -> int:
    return int((server.directory / "data" / "postmaster.pid").read_text().split()[0])


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """The binaries where nobody but us may read them, as in a virtual environment in root's home."""
    found = find_binaries()
    package = found.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    copy = tmp_path / package.name / found.parent.name
    shutil.copytree(found.parent, copy, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, tmp_path / libraries.name, symlinks=True)
    tmp_path.chmod(0o700)
    return copy / found.name


@contextlib.contextmanager
def owner(**options: object) -> Iterator[tuple[subprocess.Popen[str], Path, int, int]]:
    """Another process that runs a server: itself, the server's directory, its process, its user."""
    process = subprocess.Popen(
        [python_for_all() or sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        **options,  # type: ignore[call-overload]
    )
    with process:
        assert process.stdout is not None
        directory, pid, user = process.stdout.readline().split()
        yield process, Path(directory), int(pid), int(user)
        process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryPostgres]:
    with TemporaryPostgres() as server:
        yield server


def test_a_server_runs_and_forgets_nothing_while_it_does(server: TemporaryPostgres) -> None:
    assert ask(server, "SELECT 5") == 5
    with connected(server) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS a")
    assert ask(server, "SELECT a FROM kept") == 1


def test_a_server_is_unicode_and_needs_no_password(server: TemporaryPostgres) -> None:
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SELECT current_user::text") == "postgres"


def test_a_server_listens_on_its_socket_only(server: TemporaryPostgres) -> None:
    assert ask(server, "SHOW listen_addresses") == ""
    assert server.url().host is None
    assert server.url("psycopg", "other").render_as_string() == (
        f"postgresql+psycopg://postgres@/other?host={server.directory}".replace("/tmp", "%2Ftmp").replace(
            "tmp/", "tmp%2F"
        )
    )


def test_two_servers_run_at_once_and_do_not_share_anything(server: TemporaryPostgres) -> None:
    with TemporaryPostgres() as other:
        assert other.directory != server.directory
        assert ask(other, "SELECT system_identifier FROM pg_control_system()") != ask(
            server, "SELECT system_identifier FROM pg_control_system()"
        )


async def test_nothing_is_left_when_a_server_is_stopped() -> None:
    server = TemporaryPostgres().start()
    pid, directory = pid_of(server), server.directory
    server.stop()
    server.stop()
    assert not directory.exists()
    await eventually(lambda: not is_alive(pid))


def test_a_server_can_be_started_again_afresh() -> None:
    server = TemporaryPostgres()
    for _ in range(2):
        with server:
            assert ask(server, "SELECT to_regclass('left_over') IS NULL")
            with connected(server) as connection:
                connection.execute("CREATE TABLE left_over ()")


def test_a_server_may_listen_on_a_port_besides() -> None:
    port = free_port()
    with TemporaryPostgres(port=port) as server:
        assert (server.url().host, server.url().port) == ("127.0.0.1", port)
        assert ask(server, "SELECT inet_server_port()") == port


def test_settings_are_passed_on_and_durability_is_a_choice(server: TemporaryPostgres) -> None:
    assert (
        ask(server, "SELECT string_agg(current_setting(s), ',') FROM unnest(ARRAY['fsync', 'work_mem']) s") == "off,4MB"
    )
    with TemporaryPostgres(durable=True, settings={"work_mem": "5MB", "max_connections": "7"}) as other:
        asked = (
            "SELECT current_setting('fsync') || current_setting('synchronous_commit') || current_setting('work_mem')"
        )
        assert ask(other, asked) == "onon5MB"
        assert ask(other, "SHOW max_connections") == "7"


@pytest.mark.parametrize(("crash", "left"), [(False, 1), (True, 0)], ids=["restart", "crash"])
def test_a_restart_keeps_the_data_and_a_crash_empties_unlogged_tables(crash: bool, left: int) -> None:
    with TemporaryPostgres() as server:
        before = pid_of(server)
        with connected(server) as connection:
            connection.execute("CREATE TABLE logged AS SELECT 1")
            connection.execute("CREATE UNLOGGED TABLE unlogged AS SELECT 1")
            server.restart(crash=crash)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert pid_of(server) != before
        assert ask(server, "SELECT count(*) FROM logged") == 1
        assert ask(server, "SELECT count(*) FROM unlogged") == left


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
async def test_a_server_vanishes_with_the_process_that_started_it(number: signal.Signals) -> None:
    with owner() as (process, directory, pid, _):
        assert is_alive(pid)
        process.send_signal(number)
        await eventually(lambda: not directory.exists() and not is_alive(pid))


async def test_a_signal_to_the_process_group_does_not_stop_the_server_before_its_owner() -> None:
    with owner(process_group=0) as (process, directory, pid, _):
        os.killpg(process.pid, signal.SIGWINCH)  # ignored by all; what matters is who is in the group
        assert os.getpgid(pid) != os.getpgid(process.pid)
        assert directory.exists()


@needs_root
def test_a_server_of_root_runs_as_somebody_else(server: TemporaryPostgres) -> None:
    assert user_of(pid_of(server)) != 0


@needs_root
def test_a_server_of_root_whose_binaries_nobody_else_may_read_can_be_started_again(hidden: Path) -> None:
    server = TemporaryPostgres(binaries=hidden)
    for _ in range(2):
        with server:
            assert ask(server, "SELECT 5") == 5
        assert not server.directory.exists()


@needs_root
@pytest.mark.skipif(
    python_for_all() is None or not open_to_all(ROOT) or not open_to_all(Path(psycopg.__file__).parent),
    reason="another user cannot reach this interpreter or its packages",
)
async def test_a_server_of_another_user_runs_as_that_user() -> None:
    nobody = pwd.getpwnam("nobody")
    with owner(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[]) as (process, directory, pid, user):
        assert user == nobody.pw_uid
        assert user_of(pid) == nobody.pw_uid
        assert process.stdin is not None
        process.stdin.close()
        await eventually(lambda: not directory.exists() and not is_alive(pid))
        assert process.wait() == 0


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    before = set(Path("/tmp").glob("sqla_oban_*"))
    server = TemporaryPostgres(settings={"shared_buffers": "nonsense"})
    with pytest.raises(TemporaryPostgresError, match=r"did not start: .*shared_buffers"):
        server.start()
    assert not server.directory.exists()
    assert server.directory not in before


def test_without_any_binaries_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rglob", lambda *_: iter(()))
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(TemporaryPostgresError, match="pip install 'sqla-oban"):
        TemporaryPostgres()


def test_a_directory_without_binaries_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TemporaryPostgresError, match=f"there is no initdb in {tmp_path}"):
        TemporaryPostgres(binaries=tmp_path)


def test_elsewhere_than_on_posix_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(TemporaryPostgresError, match="give a database's URL"):
        TemporaryPostgres()
