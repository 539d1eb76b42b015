"""The files that show how to deploy say what is true: of our commands, of each other, and when they are run."""

import configparser
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import URL, text

from sqla_oban.cli.app import found
from sqla_oban.cli.commands import commands
from sqla_oban.cli.configuration import configured
from sqla_oban.cli.configuration.sources import PREFIX, from_environment
from sqla_oban.runner import SqlaOban
from tests.cli.command import TIMEOUT
from tests.examples.server import ROOT, free_port, get, poll, running, wait_until
from tests.migrations.database import begun

EXAMPLES = ROOT / "examples"
AFTERWARDS = 15
"""Seconds that a runner may take after its grace period: three until what was told to stop has, ten for a statement."""

COMPOSE: dict[str, Any] = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())
RESOURCES: list[dict[str, Any]] = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()))
DOCKERFILE = (EXAMPLES / "Dockerfile").read_text()
UNIT = EXAMPLES / "sqla-oban.service"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def resource(kind: str, name: str) -> dict[str, Any]:
    [one] = [one for one in RESOURCES if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return one


def pods() -> Iterator[dict[str, Any]]:
    """The templates of all pods, and the selectors that must find them."""
    yield from (one["spec"]["template"] for one in RESOURCES if "template" in one.get("spec", {}))


def container(kind: str, name: str) -> dict[str, Any]:
    [one] = resource(kind, name)["spec"]["template"]["spec"]["containers"]
    assert isinstance(one, dict)
    return one


def command_of(container: Mapping[str, Any]) -> list[str]:
    return [*container["command"], *container["args"]]


def settings_of(container: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def given(command: Sequence[str]) -> dict[str, Any]:
    """What the options of a `sqla-oban` command line are, as the command itself reads them."""
    program, name, *arguments = command
    assert Path(program).name == "sqla-oban"
    return commands.commands[name].make_context(name, arguments).params


K8S_RUNNER = container("Deployment", "orders-runner")
K8S_DASHBOARD = container("Deployment", "orders-dashboard")
UNIT_COMMAND = shlex.split(unit()["Service"]["ExecStart"])
[DOCKER_COMMAND] = [json.loads(line[4:]) for line in DOCKERFILE.splitlines() if line.startswith("CMD ")]
RUNNERS = {
    "compose": COMPOSE["services"]["runner"]["command"],
    "kubernetes": command_of(K8S_RUNNER),
    "systemd": UNIT_COMMAND,
    "docker": DOCKER_COMMAND,
}
ENVIRONMENTS = {
    "compose": COMPOSE["services"]["runner"]["environment"],
    "kubernetes": settings_of(K8S_RUNNER),
    "systemd": dict([unit()["Service"]["Environment"].split("=", 1)]),
}
PATIENCE = {
    "compose": COMPOSE["services"]["runner"]["stop_grace_period"],
    "kubernetes": resource("Deployment", "orders-runner")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
    "systemd": unit()["Service"]["TimeoutStopSec"],
}


@pytest.mark.parametrize("where", RUNNERS)
def test_a_runner_is_started_by_options_that_exist_with_an_application_that_exists(where: str) -> None:
    options = given(RUNNERS[where])

    assert isinstance(found(options["app"]), SqlaOban)
    assert (options["health_port"], options["metrics_port"]) == (8080, 9090)


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_a_runner_has_time_to_stop_and_its_variables_are_read(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENTS[where].items():
        assert name == "DATABASE_URL" or name.startswith(PREFIX), f"nobody reads {name}"
        monkeypatch.setenv(name, value)
    assert from_environment(ENVIRONMENTS[where]).values, "nothing is said"

    grace = configured(None).shutdown_grace_period

    assert grace is not None
    assert int(str(PATIENCE[where]).removesuffix("s")) >= grace + AFTERWARDS


def test_the_command_of_an_image_gets_its_signals() -> None:
    assert isinstance(DOCKER_COMMAND, list), "a shell would take them"
    assert "ENTRYPOINT" not in DOCKERFILE


def test_the_image_has_what_the_commands_need() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    allowed = re.findall(r"^!(.+)$", (EXAMPLES / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert sorted(names) == sorted(allowed)
    assert all((ROOT / name).exists() for name in names)
    extras = re.search(r'"\.\[(.+?)\]"', DOCKERFILE)
    assert extras is not None
    assert set(extras[1].split(",")) == {"cli", "prometheus", "web"}


def test_compose_and_kubernetes_run_the_same_commands() -> None:
    compose = {name: service.get("command") for name, service in COMPOSE["services"].items()}
    kubernetes = {
        pod["metadata"]["labels"]["part"]: command_of(one) for pod in pods() for one in pod["spec"]["containers"]
    }
    assert compose == {**kubernetes, "postgres": None}


def test_what_compose_names_is_there() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other]
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
    assert (EXAMPLES / services["runner"]["build"]["context"] / services["runner"]["build"]["dockerfile"]).exists()
    address = services["runner"]["environment"]["DATABASE_URL"]
    server = services["postgres"]["environment"]
    assert address == "postgresql+asyncpg://{POSTGRES_USER}:{POSTGRES_PASSWORD}@postgres:5432/{POSTGRES_DB}".format(
        **server
    )
    assert services["migrate"]["environment"]["DATABASE_URL"] == address


@pytest.mark.parametrize("service", ["runner", "dashboard"])
def test_compose_asks_for_health_where_it_is_served(service: str) -> None:
    options = given(COMPOSE["services"][service]["command"])
    test = COMPOSE["services"][service]["healthcheck"]["test"]
    assert test[:3] == ["CMD", "python", "-c"]
    compile(test[3], "healthcheck", "exec")
    [(port, path)] = re.findall(r"http://127\.0\.0\.1:(\d+)(/[^']*)'", test[3])
    assert int(port) == options["health_port" if service == "runner" else "port"]
    assert path in (("/ready",) if service == "runner" else ("/static/dashboard.css",))


def test_kubernetes_knows_all_that_it_is_told() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed").validate
    for one in RESOURCES:
        validate(one, "1.37", strict=True)


def test_what_kubernetes_names_is_there() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods()]
    for one in RESOURCES:
        selector = one.get("spec", {}).get("selector")
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            assert sum(wanted.items() <= found.items() for found in labels) == 1, one["metadata"]["name"]
    for pod in pods():
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", ())}
        for one in pod["spec"]["containers"]:
            assert {mount["name"] for mount in one.get("volumeMounts", ())} == volumes
            for variable in one["env"]:
                if "valueFrom" in variable:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in resource("Secret", reference["name"])["stringData"]
            assert one["image"] == COMPOSE["x-app"]["image"]
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert "memory" in one["resources"]["limits"]


def test_kubernetes_asks_for_health_where_it_is_served() -> None:
    for one in (one for pod in pods() for one in pod["spec"]["containers"]):
        ports = {port["name"]: port["containerPort"] for port in one.get("ports", ())}
        served = set(map(int, re.findall(r"-port (\d+)", " ".join(command_of(one))))) | set(
            map(int, re.findall(r"--port (\d+)", " ".join(command_of(one))))
        )
        assert set(ports.values()) == served
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in one:
                [how] = [how for how in one[probe].items() if how[0] in ("httpGet", "tcpSocket")]
                assert how[1]["port"] in ports
    assert K8S_RUNNER["startupProbe"]["httpGet"] == {"path": "/live", "port": "health"}
    assert K8S_RUNNER["livenessProbe"]["httpGet"] == {"path": "/live", "port": "health"}
    assert K8S_RUNNER["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "health"}
    scraped = resource("Deployment", "orders-runner")["spec"]["template"]["metadata"]["annotations"]
    assert scraped["prometheus.io/port"] == str(given(command_of(K8S_RUNNER))["metrics_port"])
    assert scraped["prometheus.io/path"] == "/metrics"


def test_the_dashboard_is_neither_writable_nor_reachable_from_elsewhere() -> None:
    assert given(command_of(K8S_DASHBOARD))["write"] is False
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"]["dashboard"]["ports"])
    assert "type" not in resource("Service", "orders-dashboard")["spec"]
    assert not any(one["kind"] == "Ingress" for one in RESOURCES)


def test_systemd_knows_all_that_the_unit_says(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name  # what it starts must exist, so it is given a program and a user of this machine
    copy.write_text(UNIT.read_text().replace(UNIT_COMMAND[0], sys.executable).replace("User=orders", "User=root"))
    done = subprocess.run([verify, "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def states(url: URL) -> dict[str, int]:
    with begun(url) as connection:
        counted = connection.execute(text("SELECT state::text AS state, count(*) AS number FROM oban_jobs GROUP BY 1"))
        return {one.state: one.number for one in counted}


def wait_for(url: URL, wanted: dict[str, int], log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while states(url) != wanted:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def placed(command: Sequence[str], ports: Mapping[str, int]) -> list[str]:
    """The command line with ports that are free here."""
    return [str(ports.get(word, word)) for word in command]


def test_the_commands_do_what_the_probes_look_for(url: URL, tmp_path: Path) -> None:
    """Migrate, enqueue over HTTP, run, and be told to stop in the middle of a job, as Kubernetes would do it."""
    ports = {port: free_port() for port in ("8000", "8080", "9090", "4000")}
    web, health, metrics, dashboard = (f"http://127.0.0.1:{port}" for port in ports.values())
    database = {"DATABASE_URL": url.render_as_string(hide_password=False)}
    log = {name: tmp_path / f"{name}.log" for name in ("migrate", "web", "runner", "dashboard")}

    with running(*command_of(container("Job", "orders-migrate-1")), log=log["migrate"], **database) as process:
        assert process.wait() == 0, log["migrate"].read_text()

    serve = placed(command_of(container("Deployment", "orders-web")), ports)
    with running(*serve, log=log["web"], **database) as process:
        wait_until(process, log["web"], web)
        for number in ("A-1", "A-2"):
            assert (
                httpx.post(f"{web}/orders", json={"id": number, "item": "a bicycle"}, timeout=TIMEOUT).status_code
                == 201
            )
    assert states(url) == {"available": 2}, "without a lifespan nothing runs there"

    run = placed(command_of(K8S_RUNNER), ports)
    with begun(url) as held:
        held.execute(text("SELECT FROM orders WHERE id = 'A-2' FOR UPDATE"))  # its job waits for this
        said = {**database, **settings_of(K8S_RUNNER)}
        with running(run[0], *run[1:], log=log["runner"], **said) as process:
            wait_until(process, log["runner"], f"{health}{K8S_RUNNER['startupProbe']['httpGet']['path']}")
            assert poll(f"{health}/ready", "beating") is True
            assert get(f"{health}/ready").status_code == 200
            assert "sqla_oban_jobs_finished_total" in get(f"{metrics}/metrics").text
            wait_for(url, {"completed": 1, "executing": 1}, log["runner"])

            process.send_signal(signal.SIGTERM)

            assert poll(f"{health}/ready", "stopping") is True
            assert httpx.get(f"{health}/ready", timeout=TIMEOUT).status_code == 503
            assert get(f"{health}/live").status_code == 200, "to drain is not to hang"
            held.rollback()
            assert process.wait() == 0, log["runner"].read_text()
    assert states(url) == {"completed": 2}
    assert json.loads(log["runner"].read_text().splitlines()[-1])

    watch = placed(command_of(K8S_DASHBOARD), ports)
    with running(*watch, log=log["dashboard"], **database) as process:
        wait_until(process, log["dashboard"], dashboard)
        for probe in ("readinessProbe", "livenessProbe"):
            assert get(dashboard + K8S_DASHBOARD[probe]["httpGet"]["path"]).status_code == 200
        assert get(f"{dashboard}/jobs?state=completed").status_code == 200
