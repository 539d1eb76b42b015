import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from sqla_oban import QueueConfig, RateLimit, SqlaOban
from sqla_oban.cli.configuration import Configuration, LogLevel, configured
from sqla_oban.cli.configuration.configuration import services
from sqla_oban.errors import ConfigurationError, UnknownOption
from sqla_oban.states import JobState
from sqla_oban.telemetry.log import Format

EVERYTHING = """
[tool.sqla_oban]
url = "postgresql://localhost/shop"
listen_url = "postgresql://direct/shop"
schema = "jobs"
app = "shop.app:oban"
queues.mailers = 10
queues.media.limit = 2
queues.api.global_limit = 5
queues.api.rate_limit = { allowed = 100, period = 60, algorithm = "bucket" }
queues.api.partition = ["args", "account_id"]
queues.api.burst = true
queues.solo = { global_limit = 1, partition = "worker" }
node = "web-1"
name = "Shop"
leadership = false
imports = ["shop.mail", "shop.media"]
log_level = "WARNING"
log_format = "json"
shutdown_grace_period = 30

[tool.sqla_oban.stager]
interval = 2
limit = 100

[tool.sqla_oban.pruner.max_age]
completed = 3600
discarded = "none"
"""


def test_without_any_settings_nothing_is_said() -> None:
    assert configured(None) == Configuration()


def test_every_key_can_be_said_in_a_file(here: Path) -> None:
    (here / "pyproject.toml").write_text(EVERYTHING)
    assert configured(None) == Configuration(
        url="postgresql://localhost/shop",
        listen_url="postgresql://direct/shop",
        schema="jobs",
        app="shop.app:oban",
        queues={
            "mailers": 10,
            "media": QueueConfig(limit=2),
            "api": QueueConfig(
                global_limit=5,
                rate_limit=RateLimit(100, 60, "bucket"),
                partition=("args", "account_id"),
                burst=True,
            ),
            "solo": QueueConfig(global_limit=1, partition="worker"),
        },
        node="web-1",
        name="Shop",
        leadership=False,
        imports=("shop.mail", "shop.media"),
        log_level=LogLevel.WARNING,
        log_format=Format.JSON,
        shutdown_grace_period=30,
        services={
            "stager": {"interval": 2, "limit": 100},
            "pruner": {"max_age": {JobState.COMPLETED: 3600, JobState.DISCARDED: None}},
        },
    )


def test_every_key_can_be_said_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "URL": "postgresql://localhost/shop",
        "LISTEN_URL": "postgresql://direct/shop",
        "SCHEMA": "none",
        "APP": "shop.app:oban",
        "QUEUES": "mailers:10, media:2",
        "NODE": "7",
        "NAME": "Shop",
        "LEADERSHIP": "True",
        "IMPORTS": "shop.mail, shop.media",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "SHUTDOWN_GRACE_PERIOD": "2.5",
        "STAGER__INTERVAL": "2",
        "LIFELINE__RESCUE_AFTER": "none",
        "PRUNER__MAX_AGE__COMPLETED": "3600",
    }
    for name, value in said.items():
        monkeypatch.setenv(f"SQLA_OBAN_{name}", value)
    assert configured(None) == Configuration(
        url="postgresql://localhost/shop",
        listen_url="postgresql://direct/shop",
        schema="none",
        app="shop.app:oban",
        queues={"mailers": 10, "media": 2},
        node="7",
        name="Shop",
        leadership=True,
        imports=("shop.mail", "shop.media"),
        log_level=LogLevel.DEBUG,
        log_format=Format.JSON,
        shutdown_grace_period=2.5,
        services={
            "stager": {"interval": 2.0},
            "lifeline": {"rescue_after": None},
            "pruner": {"max_age": {JobState.COMPLETED: 3600.0}},
        },
    )


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "sqla_oban.toml").write_text('node = "file"\nname = "file"\nschema = "file"\nqueues = {a = 1}\n')
    monkeypatch.setenv("SQLA_OBAN_NODE", "environment")
    monkeypatch.setenv("SQLA_OBAN_NAME", "environment")
    monkeypatch.setenv("SQLA_OBAN_QUEUES", "b:2")
    found = configured(None, node="option", name=None, imports=())
    assert (found.node, found.name, found.schema) == ("option", "environment", "file")
    assert found.queues == {"b": 2}


def test_the_fields_of_a_service_are_weighed_one_by_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "sqla_oban.toml").write_text("stager = { interval = 1, limit = 7 }\n")
    monkeypatch.setenv("SQLA_OBAN_STAGER__INTERVAL", "3")
    assert configured(None).services == {"stager": {"interval": 3.0, "limit": 7}}


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("quues = {}", "sqla_oban.toml has no option 'quues'; did you mean 'queues'?"),
        ("[stager]\nintervall = 1", "stager in sqla_oban.toml has no option 'intervall'; did you mean 'interval'?"),
        ("[stagger]\ninterval = 1", "sqla_oban.toml has no option 'stagger'; did you mean 'stager'?"),
        ("queues.a.limt = 1", "queues.a in sqla_oban.toml has no option 'limt'; did you mean 'limit'?"),
        ("pruner.max_age.complete = 1", "pruner.max_age in sqla_oban.toml has no option 'complete'; did you mean"),
        ("services = {}", "sqla_oban.toml has no option 'services'"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(written: str, complaint: str, here: Path) -> None:
    (here / "sqla_oban.toml").write_text(written)
    with pytest.raises(UnknownOption) as refusal:
        configured(None)
    assert complaint in str(refusal.value)


def test_an_unknown_variable_is_refused_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLA_OBAN_STAGER__INTERVALL", "1")
    with pytest.raises(UnknownOption, match=r"SQLA_OBAN_STAGER in the environment .* did you mean 'interval'"):
        configured(None)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("node = 7", "node in sqla_oban.toml must be a string, got 7"),
        ("imports = 'shop'", "imports in sqla_oban.toml must be an array, got 'shop'"),
        ("imports = [7]", "imports.0 in sqla_oban.toml must be a string, got 7"),
        ("leadership = 1", "leadership in sqla_oban.toml must be true or false, got 1"),
        ("queues = 'a:1'", "queues in sqla_oban.toml must be a table, got 'a:1'"),
        ("queues.a = '1'", "queues.a in sqla_oban.toml must be an integer or a table, got '1'"),
        ("queues.a = true", "queues.a in sqla_oban.toml must be an integer or a table, got True"),
        ("queues.a.rate_limit = 5", 'queues.a.rate_limit in sqla_oban.toml must be a table or "none", got 5'),
        (
            "queues.a.rate_limit = { allowed = 0, period = 1 }",
            "queues.a.rate_limit in sqla_oban.toml: RateLimit.allowed must be at least 1, got 0",
        ),
        ("queues.a.rate_limit = { allowed = 1 }", "queues.a.rate_limit in sqla_oban.toml needs 'period' as well"),
        ("queues.a.limit = 0", "queues.a in sqla_oban.toml: QueueConfig.limit must be at least 1, got 0"),
        ("stager = 1", "stager in sqla_oban.toml must be a table, got 1"),
        ("stager.interval = 'soon'", "stager.interval in sqla_oban.toml must be a number, got 'soon'"),
        ("stager.limit = 1.5", "stager.limit in sqla_oban.toml must be an integer, got 1.5"),
        (
            "lifeline.rescue_after = false",
            'lifeline.rescue_after in sqla_oban.toml must be a number or "none", got Fal',
        ),
        ("log_format = 'xml'", 'log_format in sqla_oban.toml must be "json" or "text", got \'xml\''),
        ("node = ", "sqla_oban.toml is no TOML: "),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_key_and_its_place(written: str, complaint: str, here: Path) -> None:
    (here / "sqla_oban.toml").write_text(written)
    with pytest.raises(ConfigurationError) as refusal:
        configured(None)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("STAGER__INTERVAL", "soon", "SQLA_OBAN_STAGER__INTERVAL in the environment must be a number, got 'soon'"),
        ("LEADERSHIP", "perhaps", "SQLA_OBAN_LEADERSHIP in the environment must be true or false, got 'perhaps'"),
        ("QUEUES", "a:b", "SQLA_OBAN_QUEUES in the environment: the queue 'a' has no number of jobs but 'b'"),
        ("QUEUES__A", "1", "the environment sets all queues in one variable"),
        ("STAGER", "1", "SQLA_OBAN_STAGER in the environment must be a table, got '1'"),
    ],
)
def test_a_wrong_variable_is_one_sentence_with_its_name(
    variable: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SQLA_OBAN_{variable}", value)
    with pytest.raises(ConfigurationError) as refusal:
        configured(None)
    assert complaint in str(refusal.value)


def test_a_password_is_neither_in_the_repr_nor_in_a_refusal(here: Path) -> None:
    address = "postgresql://me:secret@localhost/shop"
    assert "secret" not in repr(Configuration(url=address, listen_url=address))
    (here / "sqla_oban.toml").write_text('url = ["postgresql://me:secret@localhost/shop"]')
    with pytest.raises(ConfigurationError) as refusal:
        configured(None)
    assert str(refusal.value) == "url in sqla_oban.toml must be a string"


def test_every_service_with_settings_can_be_set_and_no_other() -> None:
    assert set(services()) <= inspect.signature(SqlaOban).parameters.keys()
    assert {"stager", "acker", "notifier", "heartbeat", "leader", "lifeline", "pruner"} <= set(services())


def test_no_service_has_the_name_of_a_setting() -> None:
    assert not services().keys() & {one.name for one in fields(Configuration)}


@pytest.mark.parametrize("service", services())
def test_every_field_of_a_service_can_be_written_in_a_file(service: str, here: Path) -> None:
    for one in fields(services()[service]):
        (here / "sqla_oban.toml").write_text(f"{service}.{one.name} = 1979-05-27")
        with pytest.raises(ConfigurationError) as refusal:
            configured(None)
        assert f"{service}.{one.name} in sqla_oban.toml must be" in str(refusal.value)
        assert "Python" not in str(refusal.value)
