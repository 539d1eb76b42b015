import json
import signal
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, insert, select

from sqla_oban import Job
from tests.cli.command import refused, run, running

APP = """
import asyncio
import os
from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from sqla_oban import SqlaOban, job


@job(name="cli_run.wait")
async def wait() -> None:
    print("the job has begun", flush=True)
    while not Path("go").exists():
        await asyncio.sleep(0.01)


@job(name="cli_run.speak")
async def speak(word: str) -> None:
    print("the job says", word, flush=True)


@job(name="cli_run.loop")
async def loop() -> None:
    print("the loop is", type(asyncio.get_running_loop()).__module__, flush=True)


engine = create_async_engine(os.environ["DATABASE"])
oban = SqlaOban(engine, queues={"default": 5, "media": 1})
client = SqlaOban(engine)
number = 7


def make():
    return oban


async def make_async():
    return oban


def make_nothing():
    return None


def make_with(argument):
    return oban


def fail():
    return {}["engine"]


class Holder:
    oban = oban


class Broken:
    @property
    def oban(self):
        return 1 / 0


broken = Broken()
"""

QUEUES = """
import os

from sqlalchemy.ext.asyncio import create_async_engine

from sqla_oban import SqlaOban, job


@job(name="cli_run.near", queue="near")
async def near() -> None: ...


@job(name="cli_run.away", queue="away")
async def away() -> None: ...


oban = SqlaOban(create_async_engine(os.environ["DATABASE"]), queues={"near": 1, "media": 1})
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application that is not installed."""
    (tmp_path / "cli_run_app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def database(url: str, empty_database: URL) -> str:
    """The address of a database with the tables."""
    assert run("migrate", "--url", url).returncode == 0
    return empty_database.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_job_end(number: signal.Signals, here: Path, database: str) -> None:
    enqueue(database, "cli_run.wait")
    with running("run", "--app", "cli_run_app:oban", cwd=here, DATABASE=database) as process:
        process.read_until("the job has begun")
        process.process.send_signal(number)
        (here / "go").touch()
        code, complaint = process.end()
    assert code == 0, complaint
    assert states(database) == {"cli_run.wait": "completed"}


@pytest.mark.parametrize("command", ["run", "web"])
def test_a_signal_before_it_has_begun_ends_it_too(command: str, tmp_path: Path) -> None:
    """By a handler: as process 1 of a container it would be passed over without one."""
    (tmp_path / "cli_run_slow.py").write_text("import time\nprint('is imported', flush=True)\ntime.sleep(600)")
    with running(command, "--app", "cli_run_slow:oban", cwd=tmp_path) as process:
        process.read_until("is imported")
        process.process.terminate()
        assert process.end() == (0, "")


@pytest.mark.parametrize(("loop", "module"), [("asyncio", "asyncio.unix_events"), ("uvloop", "uvloop")])
def test_jobs_run_in_the_loop_that_is_named(loop: str, module: str, here: Path, database: str) -> None:
    enqueue(database, "cli_run.loop")
    with running("run", "--app", "cli_run_app:oban", "--loop", loop, cwd=here, DATABASE=database) as process:
        process.read_until(f"the loop is {module}\n")
        process.process.terminate()
        code, complaint = process.end()
    assert code == 0, complaint


@pytest.mark.parametrize("path", ["oban", "make", "make_async", "Holder.oban"])
def test_the_script_finds_an_application_in_the_current_directory(path: str, here: Path, database: str) -> None:
    spec = f"cli_run_app:{path}"
    with running("run", "--app", spec, "--node", "web-1", cwd=here, DATABASE=database) as process:
        process.read_until(" runs as node web-1, queues: default:5, media:1\n")
        process.process.terminate()
        code, complaint = process.end()
    assert code == 0, complaint


def test_only_the_queues_that_are_named_run(here: Path, database: str) -> None:
    enqueue(database, "cli_run.speak", queue="default", args={"word": "never"})
    enqueue(database, "cli_run.speak", queue="media", args={"word": "hello"})
    with running("run", "--app", "cli_run_app:oban", "--queues", "media:3", cwd=here, DATABASE=database) as process:
        process.read_until(", queues: media:3\n")
        process.read_until("the job says hello")
        process.process.terminate()
        assert process.end()[0] == 0
    assert "never" not in process.said
    assert states(database, by="queue") == {"default": "available", "media": "completed"}


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ((), ["so that jobs wait for another node: away (as of cli_run.away)"]),
        (
            ("--queues", "near,naer:1"),
            ["no imported worker has the queue 'naer', which runs here; did you mean 'near'?"],
        ),
        (("--queues", "near,media:1"), []),
    ],
)
def test_queues_that_workers_and_the_runner_do_not_share_are_told_at_the_start(
    options: tuple[str, ...], warned: list[str], here: Path, database: str
) -> None:
    (here / "cli_run_queues.py").write_text(QUEUES)
    with running("run", "--app", "cli_run_queues:oban", *options, cwd=here, DATABASE=database) as process:
        process.read_until("runs as node")
        process.process.terminate()
        code, logged = process.end()
    lines = [line for line in logged.splitlines() if "WARNING sqla_oban.cli.run: " in line]
    assert (code, len(lines)) == (0, len(warned)), logged
    assert all(line.endswith(words) for line, words in zip(lines, warned, strict=True)), lines


def test_without_an_application_the_url_and_the_queues_make_a_runner(here: Path, database: str, url: str) -> None:
    (here / "sqla_oban.toml").write_text('imports = ["cli_run_app"]\nnode = "plain-1"\n')
    enqueue(database, "cli_run.speak", args={"word": "hello"})
    with running("run", "--url", url, "--queues", "default:1", cwd=here, DATABASE=database) as process:
        process.read_until("runs as node plain-1, queues: default:1\n")
        process.read_until("the job says hello")
        process.process.terminate()
        assert process.end()[0] == 0


def test_modules_with_workers_are_imported(here: Path, database: str) -> None:
    (here / "cli_run_more.py").write_text("print('imported', flush=True)\n")
    options = ("--app", "cli_run_app:oban", "--import", "cli_run_more")
    with running("run", *options, cwd=here, DATABASE=database) as process:
        process.read_until("imported")
        process.read_until("runs as node")
        process.process.terminate()
        assert process.end()[0] == 0


def test_the_log_tells_of_jobs_and_hides_their_arguments(here: Path, database: str) -> None:
    enqueue(database, "cli_run.speak", args={"word": "hello"})
    with running("run", "--app", "cli_run_app:oban", cwd=here, DATABASE=database) as process:
        process.read_until("the job says hello")
        process.process.terminate()
        code, logged = process.end()
    assert code == 0
    assert "INFO sqla_oban.telemetry: job_finished" in logged
    assert "hello" not in logged


def test_an_application_that_writes_its_own_log_is_let_alone(here: Path, database: str) -> None:
    app = (
        "import logging\nlogging.basicConfig(format='mine: %(message)s', level='DEBUG')\nfrom cli_run_app import oban\n"
    )
    (here / "cli_run_logging.py").write_text(app)
    options = ("--app", "cli_run_logging:oban", "--log-format", "json")
    with running("run", *options, cwd=here, DATABASE=database) as process:
        process.read_until("runs as node")
        process.process.terminate()
        code, logged = process.end()
    assert code == 0
    assert logged
    assert all(line.startswith("mine: ") for line in logged.splitlines())


def test_the_log_can_be_json(here: Path, database: str) -> None:
    options = ("--app", "cli_run_app:oban", "--log-format", "json", "--log-level", "debug")
    with running("run", *options, cwd=here, DATABASE=database) as process:
        process.read_until("runs as node")
        process.process.terminate()
        code, logged = process.end()
    entries = [json.loads(line) for line in logged.splitlines()]
    assert code == 0
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in entries)
    assert "runner_stopped" in [entry["event"]["event"] for entry in entries if "event" in entry]


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("nowhere:oban", "there is no module 'nowhere', neither in "),
        ("cli_run_app.inner:oban", "there is no module 'cli_run_app.inner', neither in "),
        ("cli_run_app:obna", "the module cli_run_app has no 'obna'; did you mean 'oban'?"),
        ("cli_run_app:Holder.obn", "the class Holder has no 'obn'; did you mean 'oban'?"),
        ("cli_run_app:broken.oban", "failed at cli_run_app.py, line 61, `return 1 / 0`: ZeroDivisionError: "),
        ("cli_run_app:number", "is an object of type int, not a SqlaOban or a function that returns one"),
        ("cli_run_app:Holder", "is the class Holder, not a SqlaOban or a function that returns one"),
        ("cli_run_app:make_nothing", "returned None, not a SqlaOban"),
        ("cli_run_app:make_with", "is called without arguments: missing a required argument: 'argument'"),
        ("cli_run_app:fail", "failed at cli_run_app.py, line 51, `return {}[\"engine\"]`: KeyError: 'engine'"),
        ("cli_run_app:client", "the application runs no queues; say which with --queues, as in default:10"),
    ],
)
def test_an_application_that_is_not_to_be_had_is_one_sentence(
    spec: str, complaint: str, here: Path, database: str
) -> None:
    assert complaint in refused("run", "--app", spec, cwd=here, DATABASE=database)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import os\nimport nowhere_at_all\n", "line 2, `import nowhere_at_all`: ModuleNotFoundError: No module named"),
        ("import os\nfrom os import nothing\n", "line 2, `from os import nothing`: ImportError: cannot import name"),
        ("import json\njson.loads('{')\n", "line 2, `json.loads('{')`: json.decoder.JSONDecodeError: "),
        ("def broken(:\n", "line 1: SyntaxError: "),
        ("raise ValueError('one\\ntwo')\n", "line 1, `raise ValueError('one\\ntwo')`: ValueError: one\n"),
        ("raise RuntimeError\n", "line 1, `raise RuntimeError`: RuntimeError"),
    ],
)
def test_an_application_that_fails_while_it_is_imported_shows_where_and_why(
    source: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "cli_run_broken.py").write_text(source)
    said = refused("run", "--app", "cli_run_broken:oban", cwd=tmp_path)
    assert f"importing cli_run_broken failed at cli_run_broken.py, {complaint}" in said


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_address_without_a_driver_shows_the_applications_line_and_what_to_write(driver: str, tmp_path: Path) -> None:
    """SQLAlchemy's newest takes psycopg for it, those before psycopg2; its functions are wrapped by code of no file."""
    lines = (
        "import sys",
        f"sys.modules[{driver!r}] = None",
        "from sqlalchemy.ext.asyncio import create_async_engine",
        f"engine = create_async_engine('postgresql+{driver}://localhost/shop')",
    )
    (tmp_path / "cli_run_driver.py").write_text("\n".join(lines))
    said = refused("run", "--app", "cli_run_driver:oban", cwd=tmp_path)
    assert f"failed at cli_run_driver.py, line 4, `{lines[3]}`: ModuleNotFoundError: " in said
    assert said.endswith(
        "; write the address as postgresql+asyncpg://, or as postgresql+psycopg:// and install sqla-oban[psycopg]\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "Missing option '--app', or '--url' and '--queues' in its place."),
        (("--url", "postgresql://localhost/shop"), "Missing option '--app', or '--url' and '--queues' in its place."),
        (("--app", "shop:oban", "--url", "postgresql://localhost/shop"), "--url goes without --app: shop:oban has an"),
        (("--app", "shop"), "'shop' is not written as module:object"),
        (("--app", "shop:a b"), "'shop:a b' is not written as module:object"),
        (("--app", "./shop/app.py:oban"), "is a file; name the module, as in shop.app:oban"),
        (("--app", "shop:oban", "--queues", "media:x"), "queues are written as name:number"),
        (("--app", "shop:oban", "--log-level", "loud"), "'loud' is not one of"),
    ],
)
def test_a_wrong_usage_is_told_from_a_failure(arguments: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    done = run("run", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_a_database_without_tables_is_one_sentence(here: Path, empty_database: URL) -> None:
    address = empty_database.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    complaint = refused("run", "--app", "cli_run_app:oban", cwd=here, DATABASE=address)
    assert "the database has no sqla_oban tables and this release needs version" in complaint


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_database_that_is_not_there_is_one_sentence_without_the_password(driver: str, here: Path) -> None:
    address = f"postgresql+{driver}://me:secret@127.0.0.1:1/shop"
    complaint = refused("run", "--app", "cli_run_app:oban", cwd=here, DATABASE=address)
    assert f"cannot connect to postgresql+{driver}://me:***@127.0.0.1:1/shop: " in complaint
    assert "secret" not in complaint


def test_an_unknown_setting_is_refused(here: Path) -> None:
    (here / "pyproject.toml").write_text("[tool.sqla_oban]\nqueus = {}\n")
    complaint = refused("run", "--app", "cli_run_app:oban", cwd=here)
    assert "[tool.sqla_oban] of pyproject.toml has no option 'queus'; did you mean 'queues'?" in complaint


def enqueue(database: str, worker: str, *, queue: str = "default", args: dict[str, str] | None = None) -> None:
    engine = create_engine(database.replace("asyncpg", "psycopg"))
    with engine.begin() as connection:
        connection.execute(insert(Job).values(worker=worker, queue=queue, args=args or {}))
    engine.dispose()


def states(database: str, by: str = "worker") -> dict[str, str]:
    engine = create_engine(database.replace("asyncpg", "psycopg"))
    with engine.connect() as connection:
        rows = connection.execute(select(getattr(Job, by), Job.state)).all()
    engine.dispose()
    return {key: state.value for key, state in rows}
